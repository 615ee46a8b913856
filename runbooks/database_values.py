"""What a printed runbook says of a database: its hosts, its server and standby, its repository, where to stop."""

from __future__ import annotations

import json
import shlex

from runbooks.database_ways import Options, Target, postgres_time
from runbooks.hosts import Host, Server
from runbooks.site import Application, Database, Site

TTL_SECONDS = 5


def of(site: Site, application: Application, options: Options) -> dict[str, str]:
    """Of the database that the application's rows are in, where the site says how it is recovered."""
    database = database_of(site, application)
    if database is None or (server := database.server) is None:
        return {}
    return {
        "database": database.name,
        "db_host": server.host,
        "db_address": database.host,
        "db_user": server.user,
        "db_data": server.data,
        "db_ssh": _ssh(site, server),
        "db_env": _env(database, server),
        "db_fence": _fence(server),
        "db_start": _service(server, server.start),
        "db_stop": _service(server, server.stop),
        "db_log": server.log or '"$DATA"/log/*.log',
        "db_follows": server.follows or "user=REPLICATION_USER",
        "system_identifier": str(database.system_identifier),
        "stop_at": _stop_at(options),
        "one_table": options.table or '"${TABLE:?put in the name of the table}"',
    }


def database_of(site: Site, application: Application) -> Database | None:
    names = {rows.database for rows in application.rows}
    found = [d for d in site.databases if d.name in names and d.server is not None and d.backups is not None]
    return found[0] if len(found) == 1 else None


def led_by(database: Database, host: str | None) -> Database:
    """With that server as its primary, and all the others as standbys."""
    assert database.server is not None
    servers = (database.server, *database.standbys)
    leading = next((one for one in servers if one.host == host), database.server)
    return database.model_copy(update={"server": leading, "standbys": tuple(s for s in servers if s is not leading)})


def led(site: Site, application: Application, host: str) -> Site:
    """The site with that server as the primary of the application's database."""
    found = database_of(site, application)
    changed = tuple(led_by(one, host) if one is found else one for one in site.databases)
    return site.model_copy(update={"databases": changed})


def standby(site: Site, application: Application) -> tuple[dict[str, str], ...]:
    """Of the first one; none, where the site has none."""
    database = database_of(site, application)
    if database is None or not database.standbys:
        return ()
    server = database.standbys[0]
    return (
        {
            "standby_host": server.host,
            "standby_ssh": _ssh(site, server),
            "standby_env": _env(database, server),
            "standby_fence": _fence(server),
            "standby_start": _service(server, server.start),
            "standby_stop": _service(server, server.stop),
            "standby_at": f"host={server.address or server.host} port={server.port}",
        },
    )


def lead(site: Site, application: Application) -> tuple[dict[str, str], ...]:
    """Where a record leads clients to the primary."""
    database = database_of(site, application)
    if database is None or not database.standbys or (address := database.standbys[0].address) is None:
        return ()
    record = {"Name": database.host, "Type": "A", "TTL": TTL_SECONDS, "ResourceRecords": [{"Value": address}]}
    batch = json.dumps({"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]})
    zone = site.dns.hosted_zone_id or "ZONE"
    return ({"lead_zone": zone, "lead_batch": shlex.quote(batch), "lead_name": database.host, "lead_address": address},)


def target_of(options: Options) -> Target:
    """What a person has named."""
    if options.target_xid is not None:
        return Target(kind="xid", value=str(options.target_xid))
    if options.target_time is not None:
        return Target(kind="time", value=postgres_time(options.target_time), at=options.target_time)
    if options.target_lsn is not None:
        return Target(kind="lsn", value=options.target_lsn)
    return Target(kind="name", value=options.restore_point) if options.restore_point else Target()


def _stop_at(options: Options) -> str:
    """As pgBackRest takes it. A name is a place, not a transaction, which could be left out."""
    target = target_of(options)
    if target.kind is None or target.value is None:
        return '--type=xid --target="${XID:?put in the number of the wrong transaction}" --target-exclusive'
    exclusive = "" if target.kind == "name" else " --target-exclusive"
    return f"--type={target.kind} {shlex.quote(f'--target={target.value}')}{exclusive}"


def _ssh(site: Site, server: Server) -> str:
    host = site.host(server.host)
    jump = f"-J {_at(site.host(host.jump), ':')} " if host.jump is not None else ""
    become = {"sudo": f" -t sudo -u {server.user} -i", "setpriv": f" -t su - {server.user}"}
    then = become[host.become] if host.become is not None and host.user != server.user else ""
    return f"{jump}-p {host.port} {_at(host)}{then}"


def _at(host: Host, before_port: str = "") -> str:
    return shlex.quote(f"{host.user}@{host.address}" + (f"{before_port}{host.port}" if before_port else ""))


def _service(server: Server, command: tuple[str, ...]) -> str:
    other = server.service_user if server.service_user != server.user else None
    return shlex.join(command if other is None else ("sudo", "-u", other, *command))


def _env(database: Database, server: Server) -> str:
    """One line, which each terminal on that host begins with."""
    assert database.backups is not None
    config = server.config or database.backups.config
    tool = f"{database.backups.program} --config={config} --stanza={database.stanza}"
    settings = f"PGHOST={server.socket} PGPORT={server.port} PGUSER={server.user} PGDATABASE={database.database}"
    return (
        f"export PATH={server.programs}:$PATH {settings} DATA={server.data}; "
        f'pgbackrest() {{ command {tool} "$@"; }}; get() {{ echo "{tool} --pg1-path=$1 --no-archive-async '
        'archive-get %f \\"%p\\""; }'
    )


def _fence(server: Server) -> str:
    """Where the block stands is asked once: the server may be down afterwards."""
    ask = 'psql --no-align --tuples-only --dbname=postgres --command="show hba_file"'
    hba = f': "${{HBA:=$({ask} || echo "$DATA/pg_hba.conf")}}"'
    begin, end = "# dr-runbooks fence begin", "# dr-runbooks fence end"
    lines = [begin, f"local all {server.user} peer", "local all all reject", "host all all all reject", end]
    text = "".join(f"{line}\\n" for line in lines)
    return (
        f'fence() {{ {hba}; printf \'{text}\' | cat - "$HBA" >"$HBA.new" && '
        'chmod --reference="$HBA" "$HBA.new" && mv "$HBA.new" "$HBA"; }; '
        f"unfence() {{ {hba}; sed -i '/^{begin}/,/^{end}/d' \"$HBA\"; }}"
    )
