#!/bin/sh
# Run by the PostgreSQL image once, on an empty volume: a role and a database for the booking API, and others for the CRM.
# Neither role can connect to the other's database.
set -eu
psql --set ON_ERROR_STOP=1 --set api_password="$API_DATABASE_PASSWORD" --set crm_password="$CRM_DATABASE_PASSWORD" \
    --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE convene LOGIN PASSWORD :'api_password';
CREATE ROLE convene_crm LOGIN PASSWORD :'crm_password';
CREATE DATABASE convene OWNER convene;
CREATE DATABASE convene_crm OWNER convene_crm;
REVOKE CONNECT ON DATABASE convene, convene_crm FROM PUBLIC;
SQL
