package view

// Selection says which parts of the socket view run, and how their absence is
// reported.
type Selection struct {
	Explicit bool // something was named; else the default view with all parts
	Implied  bool // the protocols follow from a family: their absence is not reported

	IPv4, IPv6 bool // which files of the Internet protocols are read
	Protocols
	Groups                  bool
	Unix, IPX, AX25, X25    bool
	NetROM, ROSE, Bluetooth bool
}

// Select applies netstat's rules of which part runs.
func (o *Options) Select() Selection {
	inet, inet6 := o.inFamily(FamilyInet), o.inFamily(FamilyInet6)
	s := Selection{Protocols: o.Protocols, Groups: o.Groups}
	if (inet || inet6) && !o.Protocols.Any() {
		s.Protocols = allProtocols
		s.Implied = true
	}
	if (s.Protocols.Any() || o.Groups) && !inet && !inet6 {
		inet, inet6 = true, true
	}
	s.Unix, s.IPX = o.inFamily(FamilyUnix), o.inFamily(FamilyIPX)
	s.AX25, s.X25 = o.inFamily(FamilyAX25), o.inFamily(FamilyX25)
	s.NetROM, s.ROSE = o.inFamily(FamilyNetROM), o.inFamily(FamilyROSE)
	s.Bluetooth = o.inFamily(FamilyBluetooth) || o.Bluetooth
	s.Explicit = s != Selection{}
	if !s.Explicit {
		s.selectAll()
		inet, inet6 = true, true
	}
	s.IPv4, s.IPv6 = inet, inet6
	return s
}

var allProtocols = Protocols{TCP: true, UDP: true, UDPLite: true, SCTP: true, Raw: true}

// selectAll selects the default view: all but groups, which must be asked for,
// and bluetooth, whose absence is an error.
func (s *Selection) selectAll() {
	s.Protocols = allProtocols
	s.Unix, s.IPX, s.AX25, s.X25, s.NetROM, s.ROSE = true, true, true, true, true, true
}

// Named names the parts that were asked for one by one.
func (s Selection) Named() []string {
	protocols := s.Explicit && !s.Implied
	var names []string
	for _, part := range []struct {
		asked bool
		name  string
	}{
		{protocols && s.TCP, "TCP sockets"},
		{protocols && s.SCTP, "SCTP sockets"},
		{protocols && s.UDP, "UDP sockets"},
		{protocols && s.UDPLite, "UDP-Lite sockets"},
		{protocols && s.Raw, "raw sockets"},
		{s.Explicit && s.Unix, "Unix domain sockets"},
	} {
		if part.asked {
			names = append(names, part.name)
		}
	}
	return append(names, s.Others()...)
}

// Others are those of Named that are neither sockets of Internet protocols nor Unix
// domain sockets.
func (s Selection) Others() []string {
	names := s.others()
	if s.Bluetooth {
		names = append(names, "Bluetooth sockets")
	}
	return names
}

// others are Others without what is never there, and has an error of its own.
func (s Selection) others() []string {
	var names []string
	for _, part := range []struct {
		asked bool
		name  string
	}{
		{s.Groups, "multicast groups"},
		{s.Explicit && s.IPX, "IPX sockets"},
		{s.Explicit && s.AX25, "AX.25 sockets"},
		{s.Explicit && s.X25, "X.25 sockets"},
		{s.Explicit && s.NetROM, "NET/ROM sockets"},
		{s.Explicit && s.ROSE, "ROSE sockets"},
	} {
		if part.asked {
			names = append(names, part.name)
		}
	}
	return names
}
