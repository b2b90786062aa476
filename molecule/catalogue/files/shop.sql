CREATE ROLE rollback SUPERUSER LOGIN PASSWORD 'of-the-drill';
CREATE ROLE shop LOGIN PASSWORD 'of-the-shop';
CREATE DATABASE shop OWNER shop;
\c shop
SET ROLE shop;
CREATE TABLE books (id int PRIMARY KEY, title text NOT NULL, cents int NOT NULL);
CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL, cents int NOT NULL);
INSERT INTO books VALUES (1, 'Release It!', 1200);
INSERT INTO orders SELECT number, 'early-' || number, 1200 FROM generate_series(1, 50) AS number;
