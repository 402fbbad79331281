package output

import "github.com/nettrace/nettrace/tracer/table"

// outcomes says how a connection ended: in a word for records, and in words for
// people.
var outcomes = [...]struct{ word, text string }{
	table.OutcomeUnknown:   {"unknown", "ended"},
	table.Finished:         {"closed", "closed"},
	table.ResetLocal:       {"reset_local", "reset"},
	table.ResetRemote:      {"reset_remote", "reset by peer"},
	table.Refused:          {"refused", "refused"},
	table.TimeoutConnect:   {"timeout_connect", "no answer"},
	table.Unreachable:      {"unreachable", "unreachable"},
	table.AbortedConnect:   {"aborted_connect", "given up"},
	table.HandshakeDropped: {"handshake_dropped", "handshake dropped"},
	table.Timeout:          {"timeout", "timed out"},
	table.Destroyed:        {"destroyed", "destroyed"},
	table.NoLocalPort:      {"no_local_port", "no local port"},
	table.Rejected:         {"rejected", "rejected"},
}

// outcomeOf returns how a connection ended: one of outcomes.
func outcomeOf(c *table.Closed) table.Outcome {
	if int(c.Outcome) >= len(outcomes) {
		return table.OutcomeUnknown
	}
	return c.Outcome
}
