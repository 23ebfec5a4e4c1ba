package PVE::RPCEnvironment;

use strict;
use warnings;
use PVE::AccessControl;

# What must be there before anything is signed.
our $ready = 0;

sub setup_default_cli_env { $ready = 1 }

1;
