-- Questions to nettrace.records (table.sql). Each runs in the tests, on ClickHouse 18.16,
-- as it stands here. A connection with both ends on hosts that are traced has two closes.

-- How did connections end, minute by minute?
SELECT toStartOfMinute(time) AS minute, outcome, count() AS connections
FROM nettrace.records
WHERE event = 'tcp_close'
GROUP BY minute, outcome
ORDER BY minute, connections DESC;

-- Which destinations fail, for whom, and why?
SELECT remote_addr, remote_port, comm, outcome, errno, count() AS failed
FROM nettrace.records
WHERE event = 'tcp_close'
  AND outcome IN ('refused', 'timeout_connect', 'unreachable', 'rejected', 'no_local_port', 'aborted_connect', 'handshake_dropped')
GROUP BY remote_addr, remote_port, comm, outcome, errno
ORDER BY failed DESC
LIMIT 20;

-- How long do connects take, by port?
SELECT remote_port, count() AS connections,
    quantile(0.5)(established_ns) / 1e6 AS p50_ms, quantile(0.99)(established_ns) / 1e6 AS p99_ms
FROM nettrace.records
WHERE event = 'tcp_close' AND direction = 'outgoing' AND established_ns > 0
GROUP BY remote_port
ORDER BY connections DESC
LIMIT 20;

-- Which programs send and receive most?
SELECT host, comm, count() AS connections, sum(bytes_sent) AS sent, sum(bytes_received) AS received
FROM nettrace.records
WHERE event = 'tcp_close'
GROUP BY host, comm
ORDER BY sent + received DESC
LIMIT 20;

-- Who lost segments?
SELECT remote_addr, sum(retrans) AS again, sum(segs_out) AS segments, again / segments AS part
FROM nettrace.records
WHERE event = 'tcp_close' AND segs_out > 0
GROUP BY remote_addr
HAVING again > 0
ORDER BY part DESC
LIMIT 20;

-- Which runs of nettrace are not whole here? Holes in seq were lost after nettrace, told is
-- what nettrace says it lost itself.
SELECT host, run_id, max(seq) AS numbered, uniqExact(seq) AS here, numbered - here AS holes,
    sumIf(lost, event = 'lost') AS told
FROM nettrace.records
GROUP BY host, run_id
HAVING holes > 0 OR told > 0
ORDER BY holes DESC;

-- Which hosts are silent? stats comes every 30 s, also when nothing happens.
SELECT host, max(time) AS latest
FROM nettrace.records
GROUP BY host
HAVING latest < now() - 90
ORDER BY latest;

-- The story of one connection.
SELECT timestamp, event, old_state, new_state, outcome, comm, pid
FROM nettrace.records
WHERE conn_id = (SELECT any(conn_id) FROM nettrace.records WHERE event = 'tcp_close')
ORDER BY seq;
