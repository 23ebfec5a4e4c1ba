# pvesh without its start: loads Proxmox's modules once, then answers request after request in forks of itself.
# Read by cyberlab/proxmox/warm.py, which runs it as `perl -e SOURCE MOST LIFE`; nothing of it is kept on the node.
#
# stdin:  netstrings, each a request:  id, seconds, what, then its arguments, every one of them a netstring again
#         what: pvesh; cookie USER; ticket USER PATH [PORT] (of an access-control since April 2026)
# stdout: netstrings, each an answer:  "ready" once; then id, how, exit code, stdout, stderr
#         how: done; late (killed at its deadline); big (too much output); signal (killed); refused (not begun)
# It ends with its stdin, when nothing was asked for LIFE seconds, or when the modules change; its children with it.
use strict;
use warnings;
use POSIX ();
use Fcntl qw(F_GETFL F_SETFL O_NONBLOCK);

my ($most, $life) = @ARGV;
my %can = (
    pvesh => \&pvesh,
    cookie => sub { signed('assemble_ticket', @_) },
    ticket => sub { signed('assemble_vnc_ticket', @_) },
);
my $output_limit = 8 << 20;
my $request_limit = 256 << 10;
my $chunk = 64 << 10;

# What modules print while they load, or a child that forgets itself, must not get between the answers.
open(my $requests, '<&', \*STDIN) or die "stdin: $!\n";
open(my $answers, '>&', \*STDOUT) or die "stdout: $!\n";
open(my $null, '+<', '/dev/null') or die "/dev/null: $!\n";
# The numbers are taken over, not the handles: those keep the layers that a program starts with.
POSIX::dup2(fileno($null), 0);
POSIX::dup2(fileno($null), 1);
close($null);
binmode($requests);
binmode($answers);
for my $handle ($requests, $answers) {
    my $flags = fcntl($handle, F_GETFL, 0) or die "fcntl: $!\n";
    fcntl($handle, F_SETFL, $flags | O_NONBLOCK) or die "fcntl: $!\n";
}

require $_ for qw(PVE/API2.pm PVE/CLIHandler.pm PVE/RPCEnvironment.pm PVE/CLIFormatter.pm PVE/SSHInfo.pm);
# Not loaded here: it reads @ARGV while it is.
grep { -f "$_/PVE/CLI/pvesh.pm" } grep { !ref } @INC or die "Can't locate PVE/CLI/pvesh.pm in \@INC\n";

my ($asked, $told, %running) = ('', '');
my $ticks = POSIX::sysconf(POSIX::_SC_CLK_TCK());
# An upgrade of the node would mix what is loaded with what a child loads; then this process is of no use any more.
my %loaded = map { $_ => stamp($_) } grep { defined && !ref } values %INC;
my ($looked, $stale) = (now(), 0);
my $last = now();

$SIG{PIPE} = 'IGNORE';
$SIG{CHLD} = sub { };    # only to wake select
$SIG{$_} = sub { quit(1) } for qw(TERM HUP INT);
$0 = 'cyberlab: warm pvesh';

tell_them('ready');
serve() while 1;

sub min { return $_[0] < $_[1] ? $_[0] : $_[1] }

sub stamp { return join(' ', (stat($_[0]))[1, 9]) }

# seconds of a clock that nobody sets
sub now { return (POSIX::times())[0] / $ticks }

sub netstring { return length($_[0]) . ":$_[0]," }

sub tell_them { $told .= netstring(join('', map { netstring($_) } @_)) }

# one netstring off the front of a buffer; undef: more must come first
sub taken {
    my ($buffer) = @_;
    if ($$buffer !~ /\A(0|[1-9][0-9]{0,8}):/) {
        quit(2) if $$buffer !~ /\A[0-9]{0,9}\z/;
        return undef;
    }
    my ($start, $size) = (length($1) + 1, $1);
    quit(2) if $size > $request_limit;
    return undef if length($$buffer) <= $start + $size;
    quit(2) if substr($$buffer, $start + $size, 1) ne ',';
    my $bytes = substr($$buffer, $start, $size);
    substr($$buffer, 0, $start + $size + 1) = '';
    return $bytes;
}

sub serve {
    while (keys(%running) < $most) {
        my $request = taken(\$asked);
        last if !defined($request);
        my @fields;
        while (length($request)) {
            my $field = taken(\$request);
            quit(2) if !defined($field);
            push @fields, $field;
        }
        quit(2) if @fields < 3 || !$can{ $fields[2] };
        begin(@fields);
        $last = now();
    }

    my ($read, $write, $wait) = ('', '', 1);
    vec($read, fileno($requests), 1) = 1 if length($asked) <= $request_limit + 16;
    vec($write, fileno($answers), 1) = 1 if length($told);
    for my $child (values %running) {
        my @open = grep { $_ } $child->{pipes}->@*;
        vec($read, fileno($_), 1) = 1 for @open;
        # Between the end of its output and the end of the process lie microseconds.
        $wait = @open ? min($wait, 0.1) : 0.002;
    }
    if (select($read, $write, undef, $wait) < 0) {
        ($read, $write) = ('', '');    # a signal: one of the children, as a rule
    }

    if (vec($write, fileno($answers), 1)) {
        my $sent = syswrite($answers, $told, $chunk);
        quit(0) if !defined($sent) && !$!{EAGAIN} && !$!{EINTR};
        substr($told, 0, $sent) = '' if $sent;
    }
    if (vec($read, fileno($requests), 1)) {
        my $got = sysread($requests, $asked, $chunk, length($asked));
        quit(0) if defined($got) ? $got == 0 : !$!{EAGAIN} && !$!{EINTR};
    }
    attend($_, $read) for values %running;
    quit(0) if !%running && !length($told) && ($stale || now() - $last > $life);
}

sub begin {
    my ($id, $seconds, $what, @words) = @_;
    my ($out, $err, $out_end, $err_end);
    if (!pipe($out, $out_end) || !pipe($err, $err_end)) {
        return tell_them($id, 'refused', 0, '', "pipe: $!");
    }
    if (now() - $looked >= 1) {
        $stale ||= grep { stamp($_) ne $loaded{$_} } keys %loaded;
        $looked = now();
    }
    return tell_them($id, 'refused', 0, '', 'the modules have changed') if $stale;
    my $pid = fork();
    return tell_them($id, 'refused', 0, '', "fork: $!") if !defined($pid);
    if (!$pid) {
        setpgrp(0, 0);
        $SIG{$_} = 'DEFAULT' for qw(PIPE CHLD TERM HUP INT);
        POSIX::dup2(fileno($out_end), 1);
        POSIX::dup2(fileno($err_end), 2);
        close($_) for $requests, $answers, $out, $err, $out_end, $err_end;
        close($_) for grep { $_ } map { $_->{pipes}->@* } values %running;
        undef %running;
        srand();    # or all children would draw the same numbers
        $can{$what}->(@words);
    }
    setpgrp($pid, $pid);    # here too: whoever comes first
    close($_) for $out_end, $err_end;
    $running{$pid} = { pid => $pid, id => $id, until => now() + $seconds, pipes => [$out, $err], text => ['', ''] };
}

# As the command of that name does it; never returns.
sub pvesh {
    $0 = '/usr/bin/pvesh';
    @ARGV = @_;
    require PVE::CLI::pvesh;
    PVE::CLI::pvesh->run_cli_handler();
    exit(0);
}

# As the one-liner of that content does it (PVE/AccessControl.pm); never returns.
sub signed {
    my ($function, @words) = @_;
    PVE::RPCEnvironment->setup_default_cli_env();
    print PVE::AccessControl->can($function)->(@words);
    exit(0);
}

# Take what a child has printed; answer when it has ended.
sub attend {
    my ($child, $read) = @_;
    for my $stream (0, 1) {
        my $pipe = $child->{pipes}[$stream];
        next if !$pipe || !vec($read, fileno($pipe), 1);
        my $got = sysread($pipe, $child->{text}[$stream], $chunk, length($child->{text}[$stream]));
        if (defined($got) ? $got == 0 : !$!{EAGAIN} && !$!{EINTR}) {
            close($pipe);
            $child->{pipes}[$stream] = undef;
        }
        end($child, 'big') if length($child->{text}[$stream]) > $output_limit;
    }
    if (!defined($child->{status}) && waitpid($child->{pid}, POSIX::WNOHANG()) == $child->{pid}) {
        $child->{status} = $?;
        # Whoever inherited its output may hold it open for ever.
        $child->{until} = now() + 1;
    }
    my $over = now() > $child->{until};
    end($child, 'late') if $over && !defined($child->{status});
    return if !defined($child->{status});
    return if !$over && grep { $_ } $child->{pipes}->@*;

    my $how = $child->{how} // ($child->{status} & 127 ? 'signal' : 'done');
    tell_them($child->{id}, $how, $child->{status} >> 8, $how eq 'big' ? ('', '') : $child->{text}->@*);
    close($_) for grep { $_ } $child->{pipes}->@*;
    delete $running{ $child->{pid} };
}

# Kill a child with all that is of its group.
sub end {
    my ($child, $how) = @_;
    $child->{how} //= $how;
    kill('KILL', -$child->{pid});
}

sub quit {
    my ($code) = @_;
    kill('KILL', -$_->{pid}) for grep { !defined($_->{status}) } values %running;
    POSIX::_exit($code);
}
