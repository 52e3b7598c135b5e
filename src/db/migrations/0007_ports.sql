-- Ports that a job names itself, in its list or by an SSH key; what its image exposes is known only on the node.
create function flotilla_named_ports(container jsonb) returns integer
  language sql immutable parallel safe as $$
  select case jsonb_typeof(container -> 'ports') when 'array' then jsonb_array_length(container -> 'ports') else 0 end
    + case when container ->> 'sshkey' is null or coalesce(container -> 'ports', 'null') @> '22' then 0 else 1 end
$$;

-- False for a port that a run held when the range got narrower: it serves that run, and no other.
alter table gateway_ports add column is_offered boolean not null default true;

create or replace function flotilla_open_ports(
  run uuid, account uuid, node uuid, wanted integer[], ips text[], rest_ms integer
) returns jsonb language plpgsql as $$
declare
  taken integer[];
begin
  select array_agg(f.port) into taken from (
    select g.port from gateway_ports g
    where g.run_id is null and g.is_offered
      and (g.released_at <= flotilla_now() - rest_ms * interval '1 millisecond' or g.account_id = account)
    order by g.released_at, g.port limit cardinality(wanted) for update skip locked
  ) f;
  if coalesce(cardinality(taken), 0) < cardinality(wanted) then
    return null;
  end if;
  update gateway_ports g set run_id = run, account_id = account, node_id = node, container_port = w.container_port,
    allowed_ips = ips, is_open = true, refused_count = 0
  from unnest(taken, wanted) as w(port, container_port) where g.port = w.port;
  return coalesce((select jsonb_agg(jsonb_build_object('container_port', w.container_port, 'port', w.port,
      'is_ready', false, 'host_key', null) order by w.container_port = 22, w.ordinality)
    from unnest(taken, wanted) with ordinality as w(port, container_port, ordinality)), '[]');
end
$$;
