# Sends a line now and then over each of some TCP connections to a log server. It only writes, so that it learns of an
# ended connection by a write that fails: the second one after the end. Prints `served N failed N`.
use strict;
use warnings;
use IO::Socket::INET;

my ($port, $count, $pause) = @ARGV;
$SIG{PIPE} = 'IGNORE';
$| = 1;
my @sockets;
my ($sent, $failed) = (0, 0);

for my $turn (0 .. 4000) {
    my $slot = $turn % $count;
    $sockets[$slot] //= IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "no log server: $!";
    $sockets[$slot]->autoflush(1);
    if (print { $sockets[$slot] } "<14>1 2024-05-06T07:08:09Z field unit$slot 312 - - all is well here, and has been for $turn turns of this loop\n") {
        $sent++;
    } else {
        $failed++;
        close $sockets[$slot];
        $sockets[$slot] = undef;
        redo;
    }
    print "served $sent failed $failed\n";
    select undef, undef, undef, $pause / $count;
}
