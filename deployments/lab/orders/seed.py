"""What the application holds before anything happens to it: the same bytes every time, written once.

It is a command of its own and never part of a start, so that a volume that came back empty stays empty."""

import hashlib
import json
from pathlib import Path

import pg8000.native

from .settings import Settings
from .volume import SEED

INVOICES = range(12_300, 12_500)
INVOICE_BYTES = 10_000
BULK_FILE_BYTES = 16 << 20

SCHEMA = """
create table if not exists orders (
    id bigint primary key, customer text not null, total numeric(10, 2) not null check (total > 0),
    status text not null check (status in ('paid', 'open')), created_at timestamptz not null);
create table if not exists payments (
    id bigint primary key, order_id bigint not null references orders (id), amount numeric(10, 2) not null);
create sequence if not exists invoice_numbers start 20001;
create table if not exists markers_rows (
    id text primary key, seq bigint not null, at timestamptz not null default clock_timestamp());
create index if not exists markers_rows_seq on markers_rows (seq);
insert into orders
    select n, 'customer ' || n % 500, round((n % 997 + 1) * 1.1, 2), case when n % 5 = 1 then 'open' else 'paid' end,
           timestamptz '2026-01-01 00:00+00' + n * interval '1 minute'
    from generate_series(1, 20000) n where n <> 12345
    union all select 12345, 'ACME', 199.90, 'paid', timestamptz '2026-01-09 13:45+00'
    on conflict do nothing;
insert into payments select id, id, total from orders where status = 'paid' and id <= 20000 on conflict do nothing;
"""


def volume(data: Path, bulk_bytes: int = 0) -> None:
    """Invoices, and *bulk_bytes* more in files that do not compress; what is there already is left alone."""
    (data / "invoices").mkdir(parents=True, exist_ok=True)
    (data / "markers").mkdir(exist_ok=True)
    for number in INVOICES:
        _write_once(data / "invoices" / f"{number}.txt", _invoice(number))
    if bulk_bytes:
        (data / "bulk").mkdir(exist_ok=True)
    for part, start in enumerate(range(0, bulk_bytes, BULK_FILE_BYTES)):
        size = min(BULK_FILE_BYTES, bulk_bytes - start)
        _write_once(data / "bulk" / f"{part:04}.bin", _noise(f"bulk {part}", size))
    _write_once(data / SEED, json.dumps({"invoices": len(INVOICES)}).encode())


def database(settings: Settings, address: str) -> None:
    """Schema and rows, in one transaction; a second time it changes nothing."""
    with pg8000.native.Connection(
        settings.db_user,
        host=address,
        port=settings.db_port,
        database=settings.db_name,
        password=settings.db_password,
        ssl_context=False,
    ) as connection:
        connection.run(SCHEMA)


def _invoice(number: int) -> bytes:
    line = f"invoice {number}: " + hashlib.sha256(str(number).encode()).hexdigest() + "\n"
    return (line * (INVOICE_BYTES // len(line) + 1)).encode()[:INVOICE_BYTES]


def _noise(name: str, size: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(size)


def _write_once(path: Path, content: bytes) -> None:
    """Whole or not at all, also when the program is killed here."""
    if path.exists():
        return
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)
