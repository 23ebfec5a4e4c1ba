package PVE::RPCEnvironment;

use strict;
use warnings;
use PVE::AccessControl;

# What must be there before anything is signed or asked, and once a process (PVE/RESTEnvironment.pm, init).
our $ready = 0;

sub setup_default_cli_env {
    die "already initialized" if $ready;
    $ready = 1;
}

1;
