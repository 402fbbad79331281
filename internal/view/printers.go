package view

import "github.com/nettrace/nettrace/output"

// The functions below return the printer of a view for the form that the options
// ask for.

func (s *session) socketPrinter() socketPrinter {
	if s.opts.Summary != nil {
		return s.newSummedSockets()
	}
	if s.records != nil {
		return &socketRecords{recordWriter: s.recordWriter()}
	}
	o := &s.opts
	return &textSockets{s.textWriter(), output.SocketText{
		Names:    s.names,
		Extend:   o.Extend > 0,
		Programs: o.Programs,
		Context:  o.Context,
		Timers:   o.Timers,
		Wide:     o.Wide,
		// Any of these keeps SCTP's addresses numbers.
		NumericSCTP: o.NumericHosts || o.NumericPorts || o.NumericUsers || o.Symbolic,
	}}
}

func (s *session) groupPrinter() groupPrinter {
	if s.records != nil {
		return &groupRecords{s.recordWriter()}
	}
	return &textGroups{s.textWriter(), output.GroupText{Hosts: s.names.Hosts}}
}

func (s *session) legacyPrinter() legacyPrinter {
	if s.records != nil {
		return &legacyRecords{s.recordWriter(), s.warn}
	}
	return &textLegacy{s.textWriter(), output.LegacyText{Names: s.names, Extend: s.opts.Extend > 0}}
}

func (s *session) routePrinter() routePrinter {
	if s.records != nil {
		return &routeRecords{s.recordWriter()}
	}
	p := &textRoutes{s.textWriter(), output.RouteText{Hosts: s.names.Hosts, Extend: s.opts.Extend}}
	if s.opts.Symbolic { // -N is about the names of hardware: here it turns the others off
		p.text.Hosts = nil
	}
	return p
}

func (s *session) interfacePrinter() interfacePrinter {
	if s.records != nil {
		return &interfaceRecords{s.recordWriter()}
	}
	return &textInterfaces{s.textWriter(), output.InterfaceText{Long: s.opts.Extend > 0}}
}

func (s *session) statisticsPrinter() statisticsPrinter {
	if s.records != nil {
		return &statisticsRecords{s.recordWriter()}
	}
	return &textStatistics{textWriter: s.textWriter()}
}

func (s *session) masqueradePrinter() masqueradePrinter {
	if s.records != nil {
		return &masqueradeRecords{s.recordWriter()}
	}
	return &textMasquerades{s.textWriter(), output.MasqueradeText{Names: s.names, Extend: s.opts.Extend > 0}}
}
