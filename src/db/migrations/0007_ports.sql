-- Ports that a job names itself, in its list or by an SSH key; what its image exposes is known only on the node.
create function flotilla_named_ports(container jsonb) returns integer
  language sql immutable parallel safe as $$
  select case jsonb_typeof(container -> 'ports') when 'array' then jsonb_array_length(container -> 'ports') else 0 end
    + case when container ->> 'sshkey' is null or coalesce(container -> 'ports', 'null') @> '22' then 0 else 1 end
$$;
