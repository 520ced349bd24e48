#!/bin/sh
# Makes the secrets that the compose files mount, in deploy/secrets, where they aren't there yet. Keep the folder out of version control.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
cd secrets

# Whoever issues tokens signs with jwt.key (EdDSA); nodes get jwt.pem only.
[ -f jwt.key ] || openssl genpkey -algorithm ed25519 -out jwt.key
[ -f jwt.pem ] || openssl pkey -in jwt.key -pubout -out jwt.pem

for name in nats-node nats-migrate nats-system cql cql-migrate cql-admin; do
  [ -f "$name" ] || openssl rand -hex 24 > "$name"
done

# The same for the NATS servers.
{
  echo "NODE_PASSWORD: \"$(cat nats-node)\""
  echo "MIGRATE_PASSWORD: \"$(cat nats-migrate)\""
  echo "SYSTEM_PASSWORD: \"$(cat nats-system)\""
} > nats-passwords.conf

# Containers read them as users of their own.
chmod 755 . && chmod 644 -- *
chmod 600 jwt.key
