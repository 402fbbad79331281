package output

import (
	"maps"
	"slices"
	"strings"
)

// The members of records by kind, each list in the order in which they are printed.
// docs/nettrace.schema.json describes them.
const (
	envelopeFields = "timestamp v event seq run_id sample_rate host"
	identityFields = "conn_id cookie transport family local_addr local_port remote_addr remote_port iface direction netns source inferred"
	ownerFields    = "uid user pid tid comm program thread owner_src cgroup_id"
	workloadFields = "container_id container_name k8s_namespace k8s_pod k8s_container k8s_pod_uid unit slice"
	pathFields     = workloadFields + " exe cmdline truncated"

	changeFields = envelopeFields + " mono_ns " + identityFields + " state old_state new_state " + ownerFields +
		" recv_q send_q inode start start_known duration_ns established_ns outcome errno closed_by history" +
		" bytes_sent bytes_received bytes_retrans segs_out segs_in retrans rtt_us rtt_min_us " + pathFields

	socketChangeFields = envelopeFields + " mono_ns conn_id cookie transport family local_addr local_port remote_addr remote_port" +
		" iface ip_protocol type path abstract peer_id peer_inode peer_pid listener_id netns source inferred" +
		" change auto old_family old_remote_addr old_remote_port backlog state old_state " + ownerFields +
		" recv_q send_q inode errno start start_known duration_ns reason history closed_by_pid " + pathFields

	socketFields = envelopeFields + " transport dest_addr source_addr device user_call dest_call source_call lci neighbour" +
		" family local_addr local_port remote_addr remote_port iface ip_protocol local_addrs remote_addrs type state" +
		" vr vs refcnt flag_bits path abstract recv_q send_q timer timer_ms retransmits probes" +
		" uid user inode pid program owner_src pids programs context " + workloadFields + " cmdline truncated"

	groupFields = envelopeFields + " family iface refcnt group truncated"

	routeFields = envelopeFields + " family cached destination mnemonic genmask prefix_len neighbour gateway quality" +
		" source_addr source_prefix_len flags flag_bits metric ref use mss_bytes window_bytes irtt_ms iface" +
		" tos hh_ref hh_uptod spec_dst truncated"

	interfaceFields = envelopeFields + " iface flag_bits flags mtu_bytes hw_type hw_name hw_addr tx_queue_len" +
		" addr netmask broadcast peer_addr irq dma port base_addr mem_start mem_end keepalive_s outfill_s" +
		" rx_packets rx_bytes rx_errors rx_dropped rx_overruns rx_frame rx_compressed rx_multicast" +
		" tx_packets tx_bytes tx_errors tx_dropped tx_overruns tx_carrier tx_collisions tx_compressed" +
		" addrs4 addrs6 truncated"

	statisticFields = envelopeFields + " section name value truncated"

	masqueradeFields = envelopeFields + " transport source_addr source_port dest_addr dest_port port init_seq delta" +
		" previous_delta expires_ms truncated"
)

// RecordKind is a kind of output whose records are rows or changes.
type RecordKind uint8

// The kinds of output.
const (
	ChangeRecords       RecordKind = iota // the stream of TCP: socket, tcp_state and tcp_close
	SocketChangeRecords                   // of others: socket, socket_change and socket_close
	SocketRecords                         // the rows of the socket view
	GroupRecords                          // the rows of -g
	RouteRecords                          // of -r
	InterfaceRecords                      // of -i
	StatisticRecords                      // of -s
	MasqueradeRecords                     // of -M
)

var recordFields = [...]string{
	ChangeRecords:       changeFields,
	SocketChangeRecords: socketChangeFields,
	SocketRecords:       socketFields,
	GroupRecords:        groupFields,
	RouteRecords:        routeFields,
	InterfaceRecords:    interfaceFields,
	StatisticRecords:    statisticFields,
	MasqueradeRecords:   masqueradeFields,
}

// RecordFields returns the members that records of some kinds may have, in the order
// in which they are printed.
func RecordFields(kinds ...RecordKind) []string {
	var names []string
	for _, kind := range kinds {
		for name := range strings.FieldsSeq(recordFields[kind]) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// fieldGroups are names for several members at once. In the text of the stream each
// is a column.
var fieldGroups = map[string][]string{
	"local":      {"local_addr", "local_port"},
	"remote":     {"remote_addr", "remote_port"},
	"transition": {"old_state", "new_state"},
	"owner":      {"pid", "program"},
}

// FieldGroups returns their names, in order.
func FieldGroups() []string { return slices.Sorted(maps.Keys(fieldGroups)) }

// FieldGroup returns the members that a name stands for; nil: it is not that of a
// group.
func FieldGroup(name string) []string { return fieldGroups[name] }
