package main

// notAsSS are expressions of the table that nettrace on purpose reads otherwise, and
// why.
var notAsSS = map[string]string{
	"sport = :0120":                         "a leading zero is an error",
	"sport = :65536":                        "a port is 0 to 65535",
	"sport <= *":                            "there is no order with any port",
	"sport = :-1":                           "a port is 0 to 65535",
	"sport < :70000":                        "a port is 0 to 65535",
	"fwmark 020":                            "a leading zero is an error",
	"not autobound":                         "it is the complement of autobound",
	"not dst 0.0.0.0/0":                     "a prefix is kept to its family under not, too",
	"not dst ::/0":                          "a prefix is kept to its family under not, too",
	"not dst 0.0.0.0":                       "an IPv4 address is no prefix of an IPv6 one",
	"dst both":                              "a name has all its addresses",
	"dst pair":                              "a name has all its addresses",
	"dst localhost":                         "a name has all its addresses",
	"dst 10.0.0.1 or dst inet6:[::1]":       "a family is its predicate's alone",
	"dst inet6:[::1] or dst inet:10.0.0.1":  "a family is its predicate's alone",
	"state established exclude established": "no state is none, and not the default",
}
