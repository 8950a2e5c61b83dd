-- What is said of a job that was lost too often.
local function poison(lost)
  return {
    false, 'poison', 'PoisonJob',
    lost .. ' deliveries ended without an answer: the consumer died or was cut off each time', '',
  }
end
