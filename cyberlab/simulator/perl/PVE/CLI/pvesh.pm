package PVE::CLI::pvesh;

# As the real one, reads @ARGV while it is loaded, prints to STDOUT and STDERR, and leaves by exit().
use strict;
use warnings;
use PVE::RPCEnvironment;
use PVE::SimulatedNode;

my @args = @ARGV;

sub run_cli_handler {
    PVE::RPCEnvironment->setup_default_cli_env();
    my ($code, $out, $err) = PVE::SimulatedNode::ask('pvesh', @args);
    print STDOUT $out;
    print STDERR $err;
    exit($code);
}

1;
