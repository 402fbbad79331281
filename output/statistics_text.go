package output

import "sync"

// statRule says when a known statistic is printed.
type statRule uint8

const (
	statNever   statRule = iota
	statAlways           // also when it is zero
	statNonzero          // only when it is not zero
	statIn               // as a row of the histogram of ICMP input
	statOut              // as a row of the histogram of ICMP output
)

// statText is how netstat prints a statistic. The number takes the place of #.
type statText struct {
	rule statRule
	text string
}

// statTables hold the statistics that netstat knows, by section title and by
// the kernel's name, and statTables6 those that it knows in net/snmp6. netstat
// finds names by binary search in tables of which two are not sorted, so it
// never finds some that they hold, such as Forwarding and TCPTimeouts; those
// are not here, as it prints them like statistics that it does not know. The
// tables are made when they are needed: other views need not wait for them.
var statTables = map[string]func() map[string]statText{
	"Ip":     statsOfIP,
	"Icmp":   statsOfIcmp,
	"Tcp":    statsOfTCP,
	"Udp":    statsOfUDP,
	"TcpExt": statsOfTCPExt,
	"Sctp":   statsOfSctp,
}

var statTables6 = map[string]func() map[string]statText{
	"Ip6":   statsOfIP6,
	"Icmp6": statsOfIcmp6,
	"Udp6":  statsOfUDP6,
	"Tcp6":  func() map[string]statText { return nil },
}

var statsOfIP = sync.OnceValue(func() map[string]statText {
	return map[string]statText{
		"DefaultTTL":      {},
		"ForwDatagrams":   {statAlways, "# forwarded"},
		"FragCreates":     {statNonzero, "# fragments created"},
		"FragFails":       {statNonzero, "# outgoing packets failed fragmentation"},
		"FragOKs":         {statNonzero, "# outgoing packets fragmented ok"},
		"InAddrErrors":    {statNonzero, "# with invalid addresses"},
		"InDelivers":      {statAlways, "# incoming packets delivered"},
		"InDiscards":      {statAlways, "# incoming packets discarded"},
		"InHdrErrors":     {statNonzero, "# with invalid headers"},
		"InReceives":      {statAlways, "# total packets received"},
		"InUnknownProtos": {statNonzero, "# with unknown protocol"},
		"OutDiscards":     {statNonzero, "# outgoing packets dropped"},
		"OutNoRoutes":     {statNonzero, "# dropped because of missing route"},
		"OutRequests":     {statAlways, "# requests sent out"},
		"ReasmFails":      {statNonzero, "# packet reassemblies failed"},
		"ReasmOKs":        {statNonzero, "# packets reassembled ok"},
		"ReasmReqds":      {statNonzero, "# reassemblies required"},
		"ReasmTimeout":    {statNonzero, "# fragments dropped after timeout"},
	}
})

var statsOfIcmp = sync.OnceValue(func() map[string]statText {
	return map[string]statText{
		"InAddrMaskReps":   {statIn, "address mask replies: #"},
		"InAddrMasks":      {statIn, "address mask request: #"},
		"InDestUnreachs":   {statIn, "destination unreachable: #"},
		"InEchoReps":       {statIn, "echo replies: #"},
		"InEchos":          {statIn, "echo requests: #"},
		"InErrors":         {statAlways, "# input ICMP message failed"},
		"InMsgs":           {statAlways, "# ICMP messages received"},
		"InParmProbs":      {statIn, "wrong parameters: #"},
		"InRedirects":      {statIn, "redirects: #"},
		"InSrcQuenchs":     {statIn, "source quenches: #"},
		"InTimeExcds":      {statIn, "timeout in transit: #"},
		"InTimestampReps":  {statIn, "timestamp reply: #"},
		"InTimestamps":     {statIn, "timestamp request: #"},
		"OutAddrMaskReps":  {statOut, "address mask replies: #"},
		"OutAddrMasks":     {statOut, "address mask requests: #"},
		"OutDestUnreachs":  {statOut, "destination unreachable: #"},
		"OutEchoReps":      {statOut, "echo replies: #"},
		"OutEchos":         {statOut, "echo requests: #"},
		"OutErrors":        {statAlways, "# ICMP messages failed"},
		"OutMsgs":          {statAlways, "# ICMP messages sent"},
		"OutParmProbs":     {statOut, "wrong parameters: #"},
		"OutRedirects":     {statOut, "redirect: #"},
		"OutSrcQuenchs":    {statOut, "source quench: #"},
		"OutTimeExcds":     {statOut, "time exceeded: #"},
		"OutTimestampReps": {statOut, "timestamp replies: #"},
		"OutTimestamps":    {statOut, "timestamp requests: #"},
	}
})

var statsOfTCP = sync.OnceValue(func() map[string]statText {
	return map[string]statText{
		"ActiveOpens":  {statAlways, "# active connection openings"},
		"AttemptFails": {statAlways, "# failed connection attempts"},
		"CurrEstab":    {statAlways, "# connections established"},
		"EstabResets":  {statAlways, "# connection resets received"},
		"InErrs":       {statAlways, "# bad segments received"},
		"InSegs":       {statAlways, "# segments received"},
		"MaxConn":      {},
		"OutRsts":      {statAlways, "# resets sent"},
		"OutSegs":      {statAlways, "# segments sent out"},
		"PassiveOpens": {statAlways, "# passive connection openings"},
		"RetransSegs":  {statAlways, "# segments retransmitted"},
		"RtoAlgorithm": {},
		"RtoMax":       {},
		"RtoMin":       {},
	}
})

var statsOfUDP = sync.OnceValue(func() map[string]statText {
	return map[string]statText{
		"InDatagrams":  {statAlways, "# packets received"},
		"InErrors":     {statAlways, "# packet receive errors"},
		"NoPorts":      {statAlways, "# packets to unknown port received"},
		"OutDatagrams": {statAlways, "# packets sent"},
		"RcvbufErrors": {statAlways, "# receive buffer errors"},
		"SndbufErrors": {statAlways, "# send buffer errors"},
	}
})

var statsOfTCPExt = sync.OnceValue(func() map[string]statText {
	return map[string]statText{
		"DelayedACKLocked":         {statNonzero, "# delayed acks further delayed because of locked socket"},
		"DelayedACKLost":           {statNonzero, "Quick ack mode was activated # times"},
		"DelayedACKs":              {statNonzero, "# delayed acks sent"},
		"EmbryonicRsts":            {statNonzero, "# resets received for embryonic SYN_RECV sockets"},
		"ListenDrops":              {statNonzero, "# SYNs to LISTEN sockets dropped"},
		"ListenOverflows":          {statNonzero, "# times the listen queue of a socket overflowed"},
		"LockDroppedIcmps":         {statNonzero, "# ICMP packets dropped because socket was locked"},
		"OfoPruned":                {statNonzero, "# packets dropped from out-of-order queue because of socket buffer overrun"},
		"OutOfWindowIcmps":         {statNonzero, "# ICMP packets dropped because they were out-of-window"},
		"PAWSActive":               {statNonzero, "# active connections rejected because of time stamp"},
		"PAWSEstab":                {statNonzero, "# packets rejected in established connections because of timestamp"},
		"PAWSPassive":              {statNonzero, "# passive connections rejected because of time stamp"},
		"PruneCalled":              {statNonzero, "# packets pruned from receive queue because of socket buffer overrun"},
		"RcvPruned":                {statNonzero, "# packets pruned from receive queue"},
		"SockMallocOOM":            {statNonzero, "Ran # times out of system memory during packet sending"},
		"SyncookiesFailed":         {statNonzero, "# invalid SYN cookies received"},
		"SyncookiesRecv":           {statNonzero, "# SYN cookies received"},
		"SyncookiesSent":           {statNonzero, "# SYN cookies sent"},
		"TCPAbortFailed":           {statNonzero, "# times unable to send RST due to no memory"},
		"TCPAbortOnClose":          {statNonzero, "# connections reset due to early user close"},
		"TCPAbortOnData":           {statNonzero, "# connections reset due to unexpected data"},
		"TCPAbortOnLinger":         {statNonzero, "# connections aborted after user close in linger timeout"},
		"TCPAbortOnMemory":         {statNonzero, "# connections aborted due to memory pressure"},
		"TCPAbortOnSyn":            {statNonzero, "# connections reset due to unexpected SYN"},
		"TCPAbortOnTimeout":        {statNonzero, "# connections aborted due to timeout"},
		"TCPDirectCopyFromBacklog": {statNonzero, "# bytes directly in process context from backlog"},
		"TCPFACKReorder":           {statNonzero, "Detected reordering # times using FACK"},
		"TCPFastRetrans":           {statNonzero, "# fast retransmits"},
		"TCPForwardRetrans":        {statNonzero, "# forward retransmits"},
		"TCPFullUndo":              {statNonzero, "# congestion windows fully recovered without slow start"},
		"TCPHPAcks":                {statNonzero, "# predicted acknowledgments"},
		"TCPHPHits":                {statAlways, "# packet headers predicted"},
		"TCPHPHitsToUser":          {statNonzero, "# packet headers predicted and directly queued to user"},
		"TCPLossFailures":          {statNonzero, "# timeouts in loss state"},
		"TCPLossUndo":              {statNonzero, "# congestion windows recovered without slow start after partial ack"},
		"TCPLostRetransmits":       {statNonzero, "# retransmits lost"},
		"TCPMemoryPressures":       {statNonzero, "TCP ran low on memory # times"},
		"TCPPartialUndo":           {statNonzero, "# congestion windows partially recovered using Hoe heuristic"},
		"TCPPrequeued":             {statNonzero, "# packets directly queued to recvmsg prequeue"},
		"TCPPureAcks":              {statNonzero, "# acknowledgments not containing data payload received"},
		"TCPRcvCollapsed":          {statNonzero, "# packets collapsed in receive queue due to low socket buffer"},
		"TCPRenoFailures":          {statNonzero, "# timeouts after reno fast retransmit"},
		"TCPRenoRecovery":          {statNonzero, "# times recovered from packet loss due to fast retransmit"},
		"TCPRenoReorder":           {statNonzero, "Detected reordering # times using reno fast retransmit"},
		"TCPSACKReorder":           {statNonzero, "Detected reordering # times using SACK"},
		"TCPSchedulerFailed":       {statNonzero, "# times receiver scheduled too late for direct processing"},
		"TCPSlowStartRetrans":      {statNonzero, "# retransmits in slow start"},
		"TCPTSReorder":             {statNonzero, "Detected reordering # times using time stamp"},
		"TW":                       {statNonzero, "# TCP sockets finished time wait in fast timer"},
		"TWRecycled":               {statNonzero, "# time wait sockets recycled by time stamp"},
	}
})

var statsOfSctp = sync.OnceValue(func() map[string]statText {
	return map[string]statText{
		"SctpAborteds":         {statAlways, "# Number of Aborteds "},
		"SctpActiveEstabs":     {statAlways, "# Active Associations"},
		"SctpChecksumErrors":   {statAlways, "# Number of Packets with invalid Checksum"},
		"SctpCurrEstab":        {statAlways, "# Current Associations"},
		"SctpFragUsrMsgs":      {statAlways, "# Number of messages fragmented"},
		"SctpInCtrlChunks":     {statAlways, "# Number of control chunks received"},
		"SctpInOrderChunks":    {statAlways, "# Number of ordered chunks received"},
		"SctpInSCTPPacks":      {statAlways, "# Number of SCTP packets received"},
		"SctpInUnorderChunks":  {statAlways, "# Number of Unordered chunks received"},
		"SctpOutCtrlChunks":    {statAlways, "# Number of control chunks sent"},
		"SctpOutOfBlues":       {statAlways, "# Number of Out of Blue packets"},
		"SctpOutOrderChunks":   {statAlways, "# Number of ordered chunks sent"},
		"SctpOutSCTPPacks":     {statAlways, "# Number of SCTP packets sent"},
		"SctpOutUnorderChunks": {statAlways, "# Number of Unordered chunks sent"},
		"SctpPassiveEstabs":    {statAlways, "# Passive Associations"},
		"SctpReasmUsrMsgs":     {statAlways, "# Number of messages reassembled "},
		"SctpShutdowns":        {statAlways, "# Number of Graceful Terminations"},
	}
})

var statsOfIP6 = sync.OnceValue(func() map[string]statText {
	return map[string]statText{
		"Ip6FragCreates":      {statNonzero, "# fragments created"},
		"Ip6FragFails":        {statNonzero, "# outgoing packets failed fragmentation"},
		"Ip6FragOKs":          {statNonzero, "# outgoing packets fragmented ok"},
		"Ip6InAddrErrors":     {statNonzero, "# with invalid addresses"},
		"Ip6InDelivers":       {statAlways, "# incoming packets delivered"},
		"Ip6InDiscards":       {statAlways, "# incoming packets discarded"},
		"Ip6InHdrErrors":      {statNonzero, "# with invalid headers"},
		"Ip6InMcastPkts":      {statNonzero, "# incoming multicast packets"},
		"Ip6InNoRoutes":       {statNonzero, "# incoming packets with no route"},
		"Ip6InReceives":       {statAlways, "# total packets received"},
		"Ip6InTooBigErrors":   {statNonzero, "# with packets too big"},
		"Ip6InTruncatedPkts":  {statNonzero, "# with truncated packets"},
		"Ip6InUnknownProtos":  {statNonzero, "# with unknown protocol"},
		"Ip6OutDiscards":      {statNonzero, "# outgoing packets dropped"},
		"Ip6OutForwDatagrams": {statAlways, "# forwarded"},
		"Ip6OutMcastPkts":     {statNonzero, "# outgoing multicast packets"},
		"Ip6OutNoRoutes":      {statNonzero, "# dropped because of missing route"},
		"Ip6OutRequests":      {statAlways, "# requests sent out"},
		"Ip6ReasmFails":       {statNonzero, "# packet reassemblies failed"},
		"Ip6ReasmOKs":         {statNonzero, "# packets reassembled ok"},
		"Ip6ReasmReqds":       {statNonzero, "# reassemblies required"},
		"Ip6ReasmTimeout":     {statNonzero, "# fragments dropped after timeout"},
	}
})

var statsOfIcmp6 = sync.OnceValue(func() map[string]statText {
	return map[string]statText{
		"Icmp6InDestUnreachs":            {statIn, "destination unreachable: #"},
		"Icmp6InEchoReplies":             {statIn, "echo replies: #"},
		"Icmp6InEchos":                   {statIn, "echo requests: #"},
		"Icmp6InErrors":                  {statAlways, "# input ICMP message failed"},
		"Icmp6InGroupMembQueries":        {statIn, "group member queries: #"},
		"Icmp6InGroupMembReductions":     {statIn, "group member reductions: #"},
		"Icmp6InGroupMembResponses":      {statIn, "group member responses: #"},
		"Icmp6InMsgs":                    {statAlways, "# ICMP messages received"},
		"Icmp6InNeighborAdvertisements":  {statIn, "neighbour advertisement: #"},
		"Icmp6InNeighborSolicits":        {statIn, "neighbour solicits: #"},
		"Icmp6InParmProblems":            {statIn, "parameter problem: #"},
		"Icmp6InPktTooBigs":              {statIn, "packets too big: #"},
		"Icmp6InRedirects":               {statIn, "redirects: #"},
		"Icmp6InRouterAdvertisements":    {statIn, "router advertisement: #"},
		"Icmp6InRouterSolicits":          {statIn, "router solicits: #"},
		"Icmp6InTimeExcds":               {statIn, "received ICMPv6 time exceeded: #"},
		"Icmp6OutDestUnreachs":           {statOut, "destination unreachable: #"},
		"Icmp6OutEchoReplies":            {statOut, "echo replies: #"},
		"Icmp6OutEchos":                  {statOut, "echo requests: #"},
		"Icmp6OutGroupMembQueries":       {statOut, "group member queries: #"},
		"Icmp6OutGroupMembReductions":    {statOut, "group member reductions: #"},
		"Icmp6OutGroupMembResponses":     {statOut, "group member responses: #"},
		"Icmp6OutMsgs":                   {statAlways, "# ICMP messages sent"},
		"Icmp6OutNeighborAdvertisements": {statOut, "neighbor advertisements: #"},
		"Icmp6OutNeighborSolicits":       {statOut, "neighbor solicits: #"},
		"Icmp6OutParmProblems":           {statOut, "parameter problem: #"},
		"Icmp6OutPktTooBigs":             {statOut, "packets too big: #"},
		"Icmp6OutRedirects":              {statOut, "redirects: #"},
		"Icmp6OutRouterSolicits":         {statOut, "router solicits: #"},
		"Icmp6OutTimeExcds":              {statOut, "sent ICMPv6 time exceeded: #"},
	}
})

var statsOfUDP6 = sync.OnceValue(func() map[string]statText {
	return map[string]statText{
		"Udp6InDatagrams":  {statAlways, "# packets received"},
		"Udp6InErrors":     {statAlways, "# packet receive errors"},
		"Udp6NoPorts":      {statAlways, "# packets to unknown port received"},
		"Udp6OutDatagrams": {statAlways, "# packets sent"},
	}
})
