# Reports to a collector from four processes. None of them sets a timeout for its connects.
use strict;
use warnings;
use IO::Socket::INET;

my ($address, $port) = @ARGV;
$| = 1;
my @children;
for my $number (1 .. 4) {
    my $child = fork // die "no fork: $!";
    if ($child) {
        push @children, $child;
        next;
    }
    for my $try (1 .. 50) {
        my $collector = IO::Socket::INET->new(PeerAddr => $address, PeerPort => $port);
        print "try $try of reporter $number: $!\n" unless $collector;
        sleep 3;
    }
    exit;
}
waitpid $_, 0 for @children;
