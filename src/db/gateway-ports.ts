// Public ports of the gateway: the range, which run each stands for, and what became of connections to it.
import type { PublishedPort } from '../domain/job.ts';
import type { FreePorts } from '../domain/placement-ports.ts';
import type { Sql } from './database.ts';

export interface PortRange {
  from: number;
  to: number;
}

export const defaultPortRange: PortRange = { from: 20_000, to: 29_999 };

/** A released port rests this long before another account gets it. */
const restMs = 10 * 60_000;

/** Makes the rows of the range. Those outside it go; held ones serve their run to its end, and nobody after it. */
export async function openPortRange(sql: Sql, range: PortRange): Promise<void> {
  await sql.query('delete from gateway_ports where run_id is null and (port < $1 or port > $2)', [
    range.from,
    range.to,
  ]);
  await sql.query(
    'insert into gateway_ports (port) select generate_series($1::integer, $2::integer) on conflict do nothing',
    [range.from, range.to],
  );
  await sql.query(
    'update gateway_ports set is_offered = not is_offered where is_offered <> (port between $1 and $2)',
    [range.from, range.to],
  );
}

export interface PortsWanted {
  runId: string;
  /** Of the container. */
  ports: readonly number[];
}

/**
 * Opens public ports for runs that start, in the transaction that makes them RUNNING and before it writes that, so that a
 * run which ends in the same transaction gives them back. Answers the runs that the range had not enough ports for.
 */
export async function openPorts(sql: Sql, wanted: readonly PortsWanted[]): Promise<Set<string>> {
  if (wanted.length === 0) return new Set();
  const rows = await sql.query<{ id: string }>(
    {
      name: 'open_ports',
      text: `with opened as materialized (
          select r.id, n.inventory -> 'ingress' -> 'public_host' as hostname, flotilla_open_ports(r.id, r.account_id, r.node_id,
              array(select p::integer from jsonb_array_elements_text(i.ports) with ordinality as e(p, n) order by n),
              array(select jsonb_array_elements_text(j.container -> 'allowed_ips')), $2) as ports
          from jsonb_to_recordset($1::jsonb) as i(run_id uuid, ports jsonb)
            join job_runs r on r.id = i.run_id join jobs j on j.id = r.job_id
            join nodes n on n.id = r.node_id
        ), named as (
          update job_runs r set ports = case when o.hostname is null then o.ports else (
              select jsonb_agg(p || jsonb_build_object('hostname', o.hostname) order by n)
              from jsonb_array_elements(o.ports) with ordinality as e(p, n)) end
          from opened o where r.id = o.id and o.ports is not null
        )
        select id from opened where ports is null`,
    },
    [JSON.stringify(wanted.map(({ runId, ports }) => ({ run_id: runId, ports }))), restMs],
  );
  return new Set(rows.map(({ id }) => id));
}

/** What placement may still give away of the range. */
export async function readFreePorts(sql: Sql): Promise<FreePorts> {
  const [row] = await sql.query<{
    rested: number;
    resting: Record<string, number>;
    promised: Record<string, number>;
  }>(
    {
      name: 'read_free_ports',
      text: `with free as materialized (
          select account_id, released_at <= flotilla_now() - $1 * interval '1 millisecond' as has_rested
          from gateway_ports where run_id is null and is_offered
        )
        select (select count(*)::integer from free where has_rested) as rested,
          coalesce((select jsonb_object_agg(account_id, count) from (select account_id, count(*) from free
            where not has_rested group by account_id) r), '{}') as resting,
          coalesce((select jsonb_object_agg(account_id, count) from (
            select r.account_id, sum(flotilla_named_ports(j.container)) as count
            from job_runs r join jobs j on j.id = r.job_id where r.status in ('ASSIGNED', 'PREPARING')
            group by r.account_id) p), '{}') as promised`,
    },
    [restMs],
  );
  return {
    rested: row?.rested ?? 0,
    restingByAccount: new Map(Object.entries(row?.resting ?? {})),
    promisedByAccount: new Map(Object.entries(row?.promised ?? {})),
  };
}

/** A port that lets connections through. */
export interface OpenPort {
  port: number;
  runId: string;
  nodeId: string;
  containerPort: number;
  allowedIps: readonly string[];
  /** The node's agent serves it itself. */
  isDirect: boolean;
}

export async function listOpenPorts(sql: Sql): Promise<OpenPort[]> {
  return sql.query({
    name: 'list_open_ports',
    text: `select g.port, g.run_id as "runId", g.node_id as "nodeId", g.container_port as "containerPort",
        g.allowed_ips as "allowedIps", coalesce(r.ports -> 0 ? 'hostname', false) as "isDirect"
      from gateway_ports g join job_runs r on r.id = g.run_id where g.run_id is not null and g.is_open`,
  });
}

/** Adds refused connections to their ports; with `nodeId` only to ports of that node. */
export async function countRefused(
  sql: Sql,
  refused: ReadonlyMap<number, number>,
  nodeId: string | null = null,
): Promise<void> {
  await sql.query(
    {
      name: 'count_refused',
      text: `with port_rows as (
          select g.port from gateway_ports g where g.port = any ($1::integer[]) and g.run_id is not null
            and ($3::uuid is null or g.node_id = $3) order by g.port for update
        )
        update gateway_ports g set refused_count = g.refused_count + i.count
        from unnest($1::integer[], $2::bigint[]) as i(port, count)
        where g.port = i.port and g.port in (select port from port_rows)`,
    },
    [[...refused.keys()], [...refused.values()], nodeId],
  );
}

export interface PortState {
  runId: string;
  nodeId: string;
  attempt: number;
  containerPort: number;
  isReady: boolean;
  hostKey: string | null;
}

/** The agent saw a published port answer, or stop answering. */
export async function setPortState(sql: Sql, state: PortState): Promise<void> {
  await sql.query(
    {
      name: 'set_port_state',
      text: `update job_runs r set updated_at = flotilla_now(), ports = (
            select jsonb_agg(case when (p ->> 'container_port')::integer = $4
                then p || jsonb_build_object('is_ready', $5::boolean, 'host_key', coalesce($6::text, p ->> 'host_key'))
                else p end order by n)
            from jsonb_array_elements(r.ports) with ordinality as e(p, n))
        where r.id = $1 and r.node_id = $2 and r.attempt = $3 and r.status = 'RUNNING'
          and jsonb_array_length(r.ports) > 0`,
    },
    [state.runId, state.nodeId, state.attempt, state.containerPort, state.isReady, state.hostKey],
  );
}

/** A run's `ports` column. */
export type StoredPorts =
  | { container_port: number; port: number; is_ready: boolean; host_key: string | null; hostname?: string }[]
  | null;

export function toPublishedPorts(ports: StoredPorts): PublishedPort[] {
  return (ports ?? []).map((port) => ({
    containerPort: port.container_port,
    port: port.port,
    hostname: port.hostname ?? null,
    isReady: port.is_ready,
    hostKey: port.host_key,
  }));
}
