# Checks that a page is there. The first line is enough for it, so that it exits with the rest of the page unread.
use strict;
use warnings;
use IO::Socket::INET;

my $page = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $ARGV[0]) or die "no server: $!";
print {$page} "GET /page.html HTTP/1.0\r\n\r\n";
$page->flush;
sysread $page, my $line, 15;
print "$line\n";
select undef, undef, undef, 0.7;
