"""One table is wrong: what the wrong transaction did to it is undone row by row, with the service up.

A copy beside is recovered twice: to just before that transaction, and to just behind it. Nothing else was committed in
between, so what differs is exactly what it did. A row that is still as it left it becomes as it was before; a row that
somebody has written since stays as it is, and is told.
"""

from __future__ import annotations

import time
from datetime import timedelta

from runbooks.errors import NotRecovered, Refused
from runbooks.model import Model
from runbooks.records import Severity
from tasks import database_archive, database_copies, database_rows
from tasks.cases import Case
from tasks.database_copies import Copy
from tasks.database_files import arguments_of, follow
from tasks.database_plan import Plan
from tasks.database_server import Postgres

MERGE_WITHIN = timedelta(hours=1)
TOLD = 20
EXPORT = "copy (select {columns} from {table}) to '{file}'"
MERGE = """
begin;
create temp table dr_was as select {columns} from {table} with no data;
create temp table dr_wrong as select {columns} from {table} with no data;
copy dr_was from '{was}';
copy dr_wrong from '{wrong}';
create index on dr_was ({key});
create index on dr_wrong ({key});
analyze dr_was;
analyze dr_wrong;
create temp table dr_undo as
    select {key}, was, wrong, live, case
        when live is not distinct from was then 'is so already'
        when live is distinct from wrong then 'stays'
        when was is null then 'removed'
        when wrong is null then 'inserted'
        else 'updated' end as act
    from (select {key}, row({columns})::text as was from dr_was) w
    full join (select {key}, row({columns})::text as wrong from dr_wrong) x using ({key})
    left join (select {key}, row({columns})::text as live from {table}) l using ({key})
    where was is distinct from wrong;
create index on dr_undo ({key});
analyze dr_undo;
insert into {table} ({columns}) overriding system value
    select {columns} from dr_was where ({key}) in (select {key} from dr_undo where act = 'inserted')
    on conflict do nothing;
{update}
delete from {table} t using dr_undo u
    where {same} and u.act = 'removed' and row({prefixed})::text = u.wrong;
do $$ begin
    if exists (select from dr_undo u left join (select {key}, row({columns})::text as live from {table}) l using ({key})
        where u.act <> 'stays' and l.live is not distinct from u.wrong)
    then raise exception 'rows could not be put back: another unique key of the table has been taken since';
    end if;
end $$;
create temp table dr_done on commit preserve rows as
    select {key}, case when act in ('stays', 'is so already') or now is not distinct from was then act
        else 'stays' end as act
    from dr_undo left join (select {key}, row({columns})::text as now from {table}) n using ({key});
commit;
select act, count(*), (array_agg(row({key})::text))[1:{told}] from dr_done group by act;
"""


UPDATE = """update {table} t set {values} from dr_undo u, dr_was w
    where {same} and {also} and u.act = 'updated' and row({prefixed})::text = u.wrong;"""


class Returned(Model):
    """Rows, counted, by what was done. `stays`: somebody has written them since; `keys`: some of these."""

    seconds: float
    changed: int
    inserted: int = 0
    updated: int = 0
    removed: int = 0
    already: int = 0
    stays: int = 0
    keys: str = ""

    @property
    def told(self) -> str:
        return (
            f"{self.inserted} rows inserted, {self.updated} set back, {self.removed} removed, {self.already} were so "
            f"already, {self.stays} left as somebody has written them since"
        )


def bring_back(case: Case, postgres: Postgres, plan: Plan) -> Returned:
    """What the wrong transaction did to the table is undone; rows that somebody has written since are as they were.

    Changes: a directory beside, removed afterwards; rows of that one table, in one transaction.

    Raises:
        NotRecovered: the copy could not be made, or rows could not be put back; the table is as it was.
    """
    began = time.monotonic()
    copy = Copy(postgres, database_copies.folder(case, postgres))
    database_copies.make(case, copy, plan.source.size_bytes)
    try:
        _export_both(case, postgres, copy, plan)
        told = _merge(case, postgres, plan, copy.folder)
    finally:
        database_copies.remove(copy)
    counted = {act.removeprefix("is so "): int(count) for act, count, _ in told}
    keys = next((keys for act, _, keys in told if act == "stays"), "")
    changed = sum(counted.values())
    found = Returned(changed=changed, seconds=round(time.monotonic() - began, 1), keys=keys, **counted)
    case.event(f"table {plan.table}: {found.told}")
    if found.stays:
        case.finding(
            "rows written since", f"{case.application.name} {plan.table}", Severity.YELLOW,
            f"{found.stays} rows that the wrong transaction changed were written again since, and stay so: {keys}",
            "a person decides what they ought to be",
        )  # fmt: skip
    return found


def _export_both(case: Case, postgres: Postgres, copy: Copy, plan: Plan) -> None:
    """was.copy and wrong.copy hold the table as it was just before the wrong transaction, and just behind it.

    The transaction may lie in a segment that is not full yet: it is ended, and archived while the files come back.
    """
    segment = database_archive.switch(postgres)
    follow(case, copy, arguments_of(plan, then="pause"), plan.source.size_bytes)
    database_archive.wait_for(postgres, segment)
    for word, file, inclusive in (("before", "was", "off"), ("after", "wrong", "on")):
        within = case.within("restore")
        paused = copy.run_to_its_pause(f"-c recovery_target_inclusive={inclusive}", within=within)
        if f"{word} commit of transaction {plan.target.value}," not in paused:
            raise NotRecovered(
                f"the copy stopped {paused[-200:]!r}, not {word} transaction {plan.target.value}",
                "the table is as it was",
            )
        case.event(f"the copy beside is at its place: {paused.split('LOG:')[-1].strip()}")
        columns = ", ".join(name for name, _ in database_rows.columns(copy, str(plan.table)))
        copy.sql(EXPORT.format(columns=columns, table=plan.table, file=f"{copy.folder}/{file}.copy"),
                 database=copy.database.database, within=MERGE_WITHIN)  # fmt: skip
        copy.stop()


def _merge(case: Case, postgres: Postgres, plan: Plan, folder: str) -> list[list[str]]:
    """Act, count and some keys of each act."""
    name, table = postgres.database.database, plan.table
    columns = [row[0] for row in database_rows.columns(postgres, str(plan.table))]
    key = database_rows.key(postgres, str(table))
    script = merge_script(str(table), columns, key, folder)
    case.write(f"undo in {table} what transaction {plan.target.value} did", host=postgres.server.host, table=table)
    try:
        return postgres.sql(script, database=name, within=MERGE_WITHIN)
    except Refused as error:
        raise NotRecovered(
            f"rows of {table} could not be put back: {error.problem}", "the table is as it was"
        ) from error


def merge_script(table: str, columns: list[str], key: list[str], folder: str) -> str:
    """One transaction. A row that a client writes meanwhile is looked at again before it is touched."""
    others = [c for c in columns if c not in key]
    same = " and ".join(f"t.{c} = u.{c}" for c in key)
    update = UPDATE.format(
        table=table, same=same, also=" and ".join(f"w.{c} = u.{c}" for c in key),
        values=", ".join(f"{c} = w.{c}" for c in others), prefixed=", ".join(f"t.{c}" for c in columns),
    )  # fmt: skip
    return MERGE.format(
        table=table, columns=", ".join(columns), key=", ".join(key), same=same, told=TOLD,
        prefixed=", ".join(f"t.{c}" for c in columns), update=update if others else "",
        was=f"{folder}/was.copy", wrong=f"{folder}/wrong.copy",
    )  # fmt: skip
