package PVE::SimulatedNode;

# Asks the simulator over its unix socket (cyberlab/simulator/remote.py).
use strict;
use warnings;
use Socket qw(AF_UNIX SOCK_STREAM pack_sockaddr_un);

# A line of JSON there; back: exit code and two lengths in a line, then stdout and stderr.
sub ask {
    my ($program, @words) = @_;
    my $path = $ENV{CYBERLAB_NODE} or die "CYBERLAB_NODE is not set\n";
    socket(my $link, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!\n";
    connect($link, pack_sockaddr_un($path)) or die "$path: $!\n";
    my $line = '{"warm":[' . join(',', map { quoted($_) } $program, @words) . "]}\n";
    while (length($line)) {
        my $sent = syswrite($link, $line) // die "$path: $!\n";
        substr($line, 0, $sent) = '';
    }
    my $answer = '';
    1 while sysread($link, $answer, 65536, length($answer));
    $answer =~ s/\A([0-9]+) ([0-9]+) ([0-9]+)\n// or die "$path: no answer\n";
    return ($1, substr($answer, 0, $2), substr($answer, $2, $3));
}

sub quoted {
    my ($text) = @_;
    utf8::decode($text);
    $text =~ s/(["\\]|[^\x20-\x7e])/escaped(ord($1))/ge;
    return "\"$text\"";
}

sub escaped {
    my ($code) = @_;
    return sprintf('\\u%04x', $code) if $code < 0x10000;
    $code -= 0x10000;
    return sprintf('\\u%04x\\u%04x', 0xd800 + ($code >> 10), 0xdc00 + ($code & 0x3ff));
}

1;
