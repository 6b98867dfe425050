"""A consortium on the coordinator's machine: certificates, admitted sites, studies proposed."""
