CREATE ROLE rollback SUPERUSER LOGIN PASSWORD 'of-the-drill';
CREATE ROLE shop LOGIN PASSWORD 'first';
CREATE DATABASE shop OWNER shop;
\c shop
SET ROLE shop;
CREATE TABLE customers (
  name text PRIMARY KEY,
  administrator bool NOT NULL,
  must_reset bool NOT NULL DEFAULT false
);
INSERT INTO customers VALUES ('owner', true), ('reader', false);
