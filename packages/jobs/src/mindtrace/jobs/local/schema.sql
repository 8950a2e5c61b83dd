-- The whole store: version 1 of user_version.
--
-- `seq` names an entry for ever: it is never used twice. A new one is one above both the highest
-- row and `counter.high`, which every deletion raises first. That costs a publish no extra page,
-- where `autoincrement` would write one at each insert.
-- `rank` orders within a queue: minus the priority in a priority queue, 0 elsewhere.
-- `state` is JobState: 0 ready, 1 delayed, 2 leased, 3 dead, 4 completed, 5 cancelled.

create table counter (high integer not null) strict;
insert into counter values (0);

create table queues (
  queue integer primary key autoincrement,
  name text not null unique,
  type text not null check (type in ('fifo', 'stack', 'priority')),
  options text not null
) strict;

create table jobs (
  seq integer primary key,
  queue integer not null,
  state integer not null check (state between 0 and 5),
  rank integer not null,
  id text not null unique,
  body text not null,
  priority integer not null,
  published_at real not null,
  due_at real,
  expires_at real,
  keep real,
  delivery integer not null default 0,
  attempts integer not null default 0,
  lost integer not null default 0,
  holder integer,
  cancel integer not null default 0,
  progress text
) strict;

create index ready on jobs (queue, rank) where state = 0;
create index delayed on jobs (queue, due_at) where state = 1;
create index leased on jobs (holder) where state = 2;
create index expiring on jobs (expires_at) where expires_at is not null;

-- How finished entries ended, in the order in which they did: dead letters and kept results.
create table outcomes (
  number integer primary key autoincrement,
  seq integer not null unique,
  queue integer not null,
  state integer not null check (state between 3 and 5),
  finished_at real not null,
  forget_at real,
  result text,
  reason text,
  error_type text,
  message text,
  traceback text
) strict;

create index dead on outcomes (queue, number) where state = 3;
create index forgettable on outcomes (forget_at) where forget_at is not null;

-- Results that older code stores by itself, beside those that jobs return.
create table stored_results (
  id text primary key,
  result text not null,
  forget_at real not null
) strict, without rowid;
create index stored_results_over on stored_results (forget_at);

-- A key counts while its job is unfinished or `until` lies ahead; `look_at` is when a sweep looks
-- whether that is over.
create table dedup (
  queue integer not null,
  key text not null,
  seq integer not null,
  id text not null,
  until real not null,
  look_at real not null,
  primary key (queue, key)
) strict, without rowid;
create index dedup_look_at on dedup (look_at);
