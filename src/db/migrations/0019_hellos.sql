-- An inventory counts while it comes over the connection that said hello last.

alter table nodes
  -- How often its agents said hello; an inventory of an earlier hello is older than the one in the newest.
  add column hello_count bigint not null default 0;
