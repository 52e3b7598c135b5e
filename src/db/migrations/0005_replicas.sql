-- Replicas: what the leader alone may write, and housekeeping that a paused replica cannot do at the wrong time.

-- True while this epoch of the leadership holds; the next one waits for the end of the transaction. So ask in the
-- statement that writes, and never in a transaction that goes on afterwards: a leader paused in it would keep all others
-- from leading.
create function flotilla_leads(leader_name text, leader uuid, leader_epoch bigint) returns boolean
  language plpgsql as $$
begin
  perform from leaderships l where l.name = leader_name and l.holder = leader and l.epoch = leader_epoch
    and l.expires_at > flotilla_now() for share;
  return found;
end
$$;

-- Empties the slot whose turn comes next; every slot holds five minutes, three of four stay readable. Slot and truncation
-- are one statement, and none of the last seconds of a slot: the next one would be in use before the lock is there.
-- Whoever waits for that lock waits in front of every request: rather not now than long.
create function flotilla_drop_old_nonces() returns void language plpgsql set lock_timeout = '500ms' as $$
declare
  slot integer := flotilla_nonce_slot();
  slot_soon integer := (extract(epoch from flotilla_now() + interval '5 seconds')::bigint / 300) % 4;
  next_slot text := 'nonces_' || (slot + 1) % 4;
begin
  if slot_soon <> slot then
    return;
  end if;
  -- Its size needs no lock that two replicas could hold while each waits for the other's.
  if pg_relation_size(next_slot::regclass) > 0 then
    execute format('truncate %I', next_slot);
  end if;
end
$$;
