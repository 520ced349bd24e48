#!/bin/sh
# Makes the keyspace and its two roles: `migrate`, which may make tables, and `fanfold`, which nodes are and which may only read and write
# them. Then it gives the role that servers begin with a password that not everybody knows: whoever that lets in knows that all is done.
# Safe to run again. A test runs each line that ends with a semicolon.
set -eu
node=$(cat /run/cql) migrate=$(cat /run/cql-migrate) admin=$(cat /run/cql-admin)
if cqlsh cql-1 -u cassandra -p "$admin" -e "SELECT now() FROM system.local" > /dev/null 2>&1; then
  exit 0
fi
# One by one: of several, those behind one that fails would be run, too.
say() {
  cqlsh cql-1 -u cassandra -p cassandra -e "$1" < /dev/null
}
# ScyllaDB keeps its roles everywhere by itself, and refuses.
say "ALTER KEYSPACE system_auth WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 3}" || true
while read -r statement; do
  say "$statement"
done << CQL
CREATE KEYSPACE IF NOT EXISTS fanfold WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 3};
CREATE ROLE IF NOT EXISTS migrate WITH PASSWORD = '$migrate' AND LOGIN = true;
GRANT CREATE ON KEYSPACE fanfold TO migrate;
GRANT SELECT ON KEYSPACE fanfold TO migrate;
GRANT MODIFY ON KEYSPACE fanfold TO migrate;
CREATE ROLE IF NOT EXISTS fanfold WITH PASSWORD = '$node' AND LOGIN = true;
GRANT SELECT ON KEYSPACE fanfold TO fanfold;
GRANT MODIFY ON KEYSPACE fanfold TO fanfold;
ALTER ROLE cassandra WITH PASSWORD = '$admin' AND LOGIN = true;
CQL
