package PVE::SSHInfo;

# Only to be loaded: see PVE/CLI/pvesh.pm.
use strict;
use warnings;

1;
