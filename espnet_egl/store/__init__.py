"""What is written so that nothing is lost: files, tables, embeddings."""
