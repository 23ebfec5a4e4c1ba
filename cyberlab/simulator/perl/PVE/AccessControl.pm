package PVE::AccessControl;

# Signs with the simulated cluster's key, for whoever has set up an environment.
use strict;
use warnings;
use PVE::SimulatedNode;

sub assemble_ticket { return signed('cookie', @_) }

sub assemble_vnc_ticket { return signed('ticket', @_) }

sub signed {
    $PVE::RPCEnvironment::ready or die "environment not initialized\n";
    my ($code, $out, $err) = PVE::SimulatedNode::ask(@_);
    die $err if $code;
    return $out;
}

1;
