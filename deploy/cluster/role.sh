#!/bin/sh
# Makes the role `fanfold`, which may log in, make the keyspace and use it; and gives the one that servers begin with a password that not
# everybody knows. Safe to run again.
set -eu
password=$(cat /run/cql)
if cqlsh cql-1 -u fanfold -p "$password" -e "SELECT now() FROM system.local" > /dev/null 2>&1; then
  exit 0
fi
cqlsh cql-1 -u cassandra -p cassandra -e "
  ALTER KEYSPACE system_auth WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 3};" || true
cqlsh cql-1 -u cassandra -p cassandra -e "
  CREATE ROLE IF NOT EXISTS fanfold WITH PASSWORD = '$password' AND LOGIN = true;
  GRANT CREATE ON ALL KEYSPACES TO fanfold;
  ALTER ROLE cassandra WITH PASSWORD = '$password' AND LOGIN = true;"
