package output

import "github.com/nettrace/nettrace/tracer/table"

// What classifies records: the categorization fields of ECS, and the data set. The
// words are those that ECS allows. Where none fits, ECS wants the field to be absent:
// what nettrace says of itself has no category.
const (
	ecsKind    = `,"event.kind":`
	ecsNetwork = `,"event.category":["network"],"event.type":`
	ecsTCP     = `,"event.dataset":"nettrace.tcp"`
	ecsRun     = `,"event.dataset":"nettrace.run"`

	ecsSocket   = ecsKind + `"state"` + ecsNetwork + `["info"]` + ecsTCP
	ecsListener = ecsKind + `"event"` + ecsNetwork + `["info"]` + ecsTCP
	ecsBegins   = ecsKind + `"event"` + ecsNetwork + `["connection","start"]` + ecsTCP
	ecsGoesOn   = ecsKind + `"event"` + ecsNetwork + `["connection","info"]` + ecsTCP
	ecsEnds     = ecsKind + `"event"` + ecsNetwork + `["connection","end"]` + ecsTCP
	ecsDenied   = ecsKind + `"event"` + ecsNetwork + `["connection","end","denied"]` + ecsTCP

	ecsOfRun   = ecsKind + `"event"` + ecsRun
	ecsLoss    = ecsKind + `"pipeline_error"` + ecsRun
	ecsTotals  = ecsKind + `"metric"` + ecsRun
	ecsSummary = ecsKind + `"metric"` + ecsNetwork + `["info"],"event.dataset":"nettrace.summary"`
)

// ecsClassOf classifies the records of the run and those of summaries.
func ecsClassOf(event string) string {
	switch event {
	case "lost":
		return ecsLoss
	case "stats":
		return ecsTotals
	case "agg":
		return ecsSummary
	}
	return ecsOfRun
}

// ecsTransition classifies a transition. The first one of a connection is its start. A
// listener is no connection.
func ecsTransition(c *table.Change) string {
	switch {
	case !known(c.Conn.Remote):
		return ecsListener
	case c.Conn.StartKnown && len(c.Conn.History.States()) == 1:
		return ecsBegins
	}
	return ecsGoesOn
}

// ecsClose classifies the end of a connection. Denied is what a firewall or a route
// rejects. Who refuses has no listener, as a rule, and denies nothing.
func ecsClose(c *table.Closed) string {
	if outcomeOf(c) == table.Rejected {
		return ecsDenied
	}
	return ecsEnds
}

// ecsOutcome is how ECS calls an outcome. The word for it is the reason.
func ecsOutcome(c *table.Closed) string {
	switch o := outcomeOf(c); {
	case failed(o):
		return "failure"
	case o == table.Finished:
		return "success"
	}
	return "unknown"
}
