-- Resumable uploads: until when one may be continued, and how long it will be. Both stay after its end, so that its sender is
-- told what became of it.

ALTER TABLE recording ADD COLUMN resume_until INTEGER; -- NULL: not resumable
ALTER TABLE recording ADD COLUMN declared_len INTEGER; -- bytes of the whole; NULL: not told yet
