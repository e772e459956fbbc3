#!/usr/bin/env perl
# Runs jobs on this machine, with the interface of Kaldi's run.pl, queue.pl and slurm.pl:
#   run.pl [--gpu N] [--max-jobs-run N] [other options] [JOB=1:4] log/x.JOB.log command args...
# JOB is replaced by the job's number in the log's name and in the command.
use strict;
use warnings;
use POSIX ();

my $max_jobs = 0;
while (@ARGV && $ARGV[0] =~ /^--?\w/) {
    my $option = shift @ARGV;
    my $value = shift @ARGV;
    defined $value or die "run.pl: option $option needs a value\n";
    $max_jobs = $value if $option =~ /^--max-jobs-run$/;
}
my ($name, $first, $last) = ('', 1, 1);
if (@ARGV && $ARGV[0] =~ /^(\w+)=(\d+)(?::(\d+))?$/) {
    ($name, $first, $last) = ($1, $2, defined $3 ? $3 : $2);
    shift @ARGV;
}
my ($log, @command) = @ARGV;
defined $log && @command && $first >= 1 && $first <= $last
    or die "usage: run.pl [options] [JOB=1:n] log-file command args...\n";
$max_jobs = $last - $first + 1 if $max_jobs < 1;

my (%running, @failed);
$SIG{TERM} = $SIG{INT} = sub { kill 'TERM', keys %running; exit 143; };
for my $job ($first .. $last) {
    wait_for_one() while keys %running >= $max_jobs;
    start($job);
}
wait_for_one() while %running;
if (@failed) {
    print STDERR "run.pl: ", scalar(@failed), " of ", $last - $first + 1, " jobs failed, log: ",
        join(' ', sort @failed), "\n";
    exit 1;
}

sub for_job {
    my ($job, @words) = @_;
    return @words if $name eq '';
    s/$name/$job/g for @words;
    return @words;
}

sub start {
    my ($job) = @_;
    my ($file) = for_job($job, $log);
    my @words = for_job($job, @command);
    my ($dir) = $file =~ m{^(.*)/};
    system('mkdir', '-p', $dir) == 0 or die "run.pl: cannot make $dir\n" if defined $dir;
    defined(my $pid = fork) or die "run.pl: cannot fork: $!\n";
    if ($pid) { $running{$pid} = $file; return; }
    # The child watches the command, so that the log tells how it ended.
    $SIG{INT} = 'DEFAULT';
    open STDOUT, '>', $file or die "run.pl: cannot write $file: $!\n";
    open STDERR, '>&', \*STDOUT or die "run.pl: cannot write $file: $!\n";
    $| = 1;
    print "# @words\n# Started at ", scalar localtime, "\n#\n";
    my $begin = time;
    my $command = fork;
    if (!$command) { exec { $words[0] } @words or do { print "run.pl: $words[0]: $!\n"; POSIX::_exit(127); } }
    $SIG{TERM} = sub { kill 'TERM', $command };
    1 while waitpid($command, 0) == -1 && $!{EINTR};
    my $status = $? >> 8 || ($? & 127 ? 128 + ($? & 127) : 0);
    print "# Ended (status: $status) at ", scalar localtime, ", elapsed ", time - $begin, " s\n";
    POSIX::_exit($status);
}

sub wait_for_one {
    my $pid = wait;
    return if $pid < 0;
    my $file = delete $running{$pid};
    push @failed, $file if defined $file && $? != 0;
}
