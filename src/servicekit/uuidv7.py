"""The function uuidv7() on PostgreSQL servers that have none: it is built in from version 18 on."""

ENSURE_UUIDV7 = """
DO $do$ BEGIN
    IF to_regprocedure('uuidv7()') IS NULL THEN
        CREATE FUNCTION uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
        BEGIN ATOMIC
            SELECT encode(
                overlay(
                    overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send(micros / 1000) FROM 3) FROM 1 FOR 6)
                    PLACING int2send((28672 + micros % 1000 * 4096 / 1000)::int2) FROM 7 FOR 2),
                'hex')::uuid
            FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros) AS clock;
        END;
    END IF;
END $do$
"""
"""Creates the function where it is missing; does nothing on PostgreSQL 18 and newer.

The layout is that of RFC 9562, section 5.7, with the sub-millisecond fraction of its section 6.2, method 3: 48 bits of
Unix milliseconds, the version 7 (28672 is 0x7000), 12 bits of fraction, and the variant and random bits of
gen_random_uuid(). After an upgrade to PostgreSQL 18 column defaults keep using this function, and both are valid.
"""
