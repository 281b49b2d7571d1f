-- Network's rows, written by gateways: networks, subnets, ports, security groups.
-- Times are UTC epoch seconds; revision counts the writes of a row from 0.
CREATE SCHEMA IF NOT EXISTS network;

CREATE TABLE IF NOT EXISTS network.network (
    id             text PRIMARY KEY,
    project_id     text NOT NULL,
    name           text NOT NULL,
    description    text NOT NULL DEFAULT '',
    shared         bool NOT NULL DEFAULT false,
    external       bool NOT NULL DEFAULT false,
    is_default     bool NOT NULL DEFAULT false,
    admin_state_up bool NOT NULL DEFAULT true,
    mtu            int NOT NULL,
    revision       int NOT NULL DEFAULT 0,
    created_at     float8 NOT NULL,
    updated_at     float8 NOT NULL
);
CREATE INDEX IF NOT EXISTS network_project ON network.network (project_id);

CREATE TABLE IF NOT EXISTS network.subnet (
    id              text PRIMARY KEY,
    network_id      text NOT NULL REFERENCES network.network,
    project_id      text NOT NULL,
    name            text NOT NULL,
    description     text NOT NULL DEFAULT '',
    cidr            cidr NOT NULL,
    gateway_ip      inet,
    enable_dhcp     bool NOT NULL DEFAULT true,
    dns_nameservers text[] NOT NULL DEFAULT '{}',
    revision        int NOT NULL DEFAULT 0,
    created_at      float8 NOT NULL,
    updated_at      float8 NOT NULL
);
CREATE INDEX IF NOT EXISTS subnet_network ON network.subnet (network_id);

-- What a subnet gives out: the addresses first_ip + 0 … first_ip + size - 1. The first ``opened`` of them
-- have gone through network.free_address, a block at a time.
CREATE TABLE IF NOT EXISTS network.pool (
    subnet_id text NOT NULL REFERENCES network.subnet ON DELETE CASCADE,
    first_ip  inet NOT NULL,
    size      bigint NOT NULL CHECK (size > 0),
    opened    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (subnet_id, first_ip)
);

-- Addresses to be had without touching the pool's row: the rest of a block, and what was given back.
CREATE TABLE IF NOT EXISTS network.free_address (
    subnet_id text NOT NULL REFERENCES network.subnet ON DELETE CASCADE,
    ip        inet NOT NULL,
    PRIMARY KEY (subnet_id, ip)
);

-- for_device: made together with an instance, and removed with it.
CREATE TABLE IF NOT EXISTS network.port (
    id             text PRIMARY KEY,
    network_id     text NOT NULL REFERENCES network.network,
    project_id     text NOT NULL,
    name           text NOT NULL DEFAULT '',
    description    text NOT NULL DEFAULT '',
    mac_address    text NOT NULL,
    admin_state_up bool NOT NULL DEFAULT true,
    device_id      text NOT NULL DEFAULT '',
    device_owner   text NOT NULL DEFAULT '',
    for_device     bool NOT NULL DEFAULT false,
    revision       int NOT NULL DEFAULT 0,
    created_at     float8 NOT NULL,
    updated_at     float8 NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS port_mac ON network.port (network_id, mac_address);
CREATE UNIQUE INDEX IF NOT EXISTS port_for_device ON network.port (device_id, network_id) WHERE for_device;
CREATE INDEX IF NOT EXISTS port_device ON network.port (device_id) WHERE device_id <> '';
CREATE INDEX IF NOT EXISTS port_project ON network.port (project_id);

-- Who holds an address. The primary key is what makes an address nobody's twice.
CREATE TABLE IF NOT EXISTS network.address (
    subnet_id text NOT NULL REFERENCES network.subnet,
    ip        inet NOT NULL,
    port_id   text NOT NULL REFERENCES network.port,
    PRIMARY KEY (subnet_id, ip)
);
CREATE INDEX IF NOT EXISTS address_port ON network.address (port_id);

CREATE TABLE IF NOT EXISTS network.security_group (
    id          text PRIMARY KEY,
    project_id  text NOT NULL,
    name        text NOT NULL,
    description text NOT NULL DEFAULT '',
    revision    int NOT NULL DEFAULT 0,
    created_at  float8 NOT NULL,
    updated_at  float8 NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS security_group_default
    ON network.security_group (project_id) WHERE name = 'default';

CREATE TABLE IF NOT EXISTS network.security_group_rule (
    id                text PRIMARY KEY,
    security_group_id text NOT NULL REFERENCES network.security_group ON DELETE CASCADE,
    project_id        text NOT NULL,
    direction         text NOT NULL CHECK (direction IN ('ingress', 'egress')),
    ethertype         text NOT NULL CHECK (ethertype IN ('IPv4', 'IPv6')),
    remote_group_id   text REFERENCES network.security_group ON DELETE CASCADE,
    revision          int NOT NULL DEFAULT 0,
    created_at        float8 NOT NULL,
    updated_at        float8 NOT NULL
);
CREATE INDEX IF NOT EXISTS security_group_rule_group ON network.security_group_rule (security_group_id);

GRANT USAGE ON SCHEMA network TO starling_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA network TO starling_gateway;
