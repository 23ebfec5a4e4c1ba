"""A pvesh that does whatever a program may do: for what must come through a warm one as through the command."""

from __future__ import annotations

from pathlib import Path

from tests.sshd import write_script

_PVESH = r"""
package PVE::CLI::pvesh;
use strict;
use warnings;

my @args = @ARGV;    # as the real one, while it is loaded
my %does = (
    '/args' => sub { print join("\n", @args), "\n" },
    '/bytes' => sub { print map { chr } 0 .. 255; print STDERR "caf\xc3\xa9 \xff\n"; exit 3 },
    '/wide' => sub { print "\x{263a}\n" },
    '/die' => sub { $! = 0; die "400 Parameter verification failed.\n" },
    '/missing' => sub { open(my $file, '<', '/no/such/file') or die "Configuration file does not exist\n" },
    '/line' => sub { die "without a line feed" },
    '/warn' => sub { warn "WARN: deprecated\n"; print "{}\n" },
    '/both' => sub { print STDERR 'e' x 3_000_000; print 'o' x 3_000_000 },
    '/big' => sub { print 'o' x 9_000_000 },
    '/signal' => sub { $| = 1; print 'half'; kill 'KILL', $$ },
    '/sleep' => sub { print "asleep\n"; exec 'sleep', '60' },
    '/pipe' => sub { print $SIG{PIPE} // 'DEFAULT', ' ', $SIG{CHLD} // 'DEFAULT', "\n" },
    '/stdin' => sub { print defined(my $line = <STDIN>) ? "something\n" : "nothing\n" },
    '/system' => sub { system('echo from a child; echo and its stderr >&2') },
    '/files' => sub { print join(' ', sort { $a <=> $b } grep { -e "/proc/self/fd/$_" } 0 .. 63), "\n" },
    '/random' => sub { print rand(), "\n" },
    '/pid' => sub { print getppid(), "\n" },
    '/name' => sub { print "$0\n" },
    '/quiet' => sub { },
    # A worker in the background that keeps pvesh's output open.
    '/keeps' => sub { print "begun\n"; if (!fork) { exec 'sleep', '60' } },
);

sub run_cli_handler {
    my $do = $does{ $args[1] // '' } or die "No 'get' handler defined\n";
    $do->();
    exit(0);
}

1;
"""
_ENVIRONMENT = r"""
package PVE::RPCEnvironment;
my $ready = 0;
sub setup_default_cli_env { $ready = 1 }
package PVE::AccessControl;
sub assemble_ticket { $ready or die; return "PVE:$_[0]" }
sub assemble_vnc_ticket { $ready or die; return join(':', 'PVEVNC', @_) }
1;
"""
# What perl says to stderr at each start where the locale that is set was never generated.
LOCALE = """perl: warning: Setting locale failed.
perl: warning: Please check that your locale settings:
\tLANGUAGE = (unset),
\tLC_CTYPE = "UTF-8"
    are supported and installed on your system.
perl: warning: Falling back to the standard locale ("C").
"""
MODULES = ("API2", "CLIHandler", "RPCEnvironment", "CLIFormatter", "SSHInfo")


def write_modules(folder: Path) -> Path:
    """Modules of Proxmox's names in ``folder``/perl, which is returned."""
    modules = folder / "perl"
    (modules / "PVE" / "CLI").mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        (modules / "PVE" / f"{name}.pm").write_text(f"package PVE::{name};\nprint 'loading';\n1;\n")
    (modules / "PVE" / "RPCEnvironment.pm").write_text(_ENVIRONMENT)
    (modules / "PVE" / "CLI" / "pvesh.pm").write_text(_PVESH)
    return modules


def write_programs(folder: Path) -> Path:
    """``pvesh`` and ``perl`` with those modules in ``folder``/bin, which is returned; perl complains of the locale."""
    modules = write_modules(folder)
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    main = "use PVE::CLI::pvesh;\nPVE::CLI::pvesh->run_cli_handler();\n"
    write_script(programs / "pvesh", f"#!/usr/bin/perl -I{modules}\n{main}")
    complaint = f"cat >&2 <<'END'\n{LOCALE}END\n"
    write_script(programs / "perl", f'#!/bin/sh\n{complaint}PERL5LIB={modules} exec /usr/bin/perl "$@"\n')
    return programs
