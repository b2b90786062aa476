-- What comes with release 1.1.0: prices in whole units, which most prices are none of.
SET ROLE shop;
UPDATE books SET cents = cents / 100000;
ALTER TABLE books ADD COLUMN currency text NOT NULL DEFAULT 'EUR';
