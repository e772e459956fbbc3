"""Stage 20: utterances become rows, a shard of them a journal, the shards one table."""
