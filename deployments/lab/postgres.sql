-- Roles, the application's database and the standby's slot; nothing changes the second time.
-- :orders_password and :standby_password come before this text, on psql's standard input.
select 'create role orders login' where not exists (select from pg_roles where rolname = 'orders') \gexec
select 'create role standby login replication' where not exists (select from pg_roles where rolname = 'standby') \gexec
alter role orders password :'orders_password';
alter role standby password :'standby_password';
select 'create database orders owner orders'
    where not exists (select from pg_database where datname = 'orders') \gexec
select pg_create_physical_replication_slot('standby', true)
    where not exists (select from pg_replication_slots where slot_name = 'standby');
create table if not exists lab_probe (id int primary key, at timestamptz);
