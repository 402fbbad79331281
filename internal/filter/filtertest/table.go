// Package filtertest has what ss(8) is known to select in a scene of sockets, for tests
// of filters: measured with ss of iproute2 6.1.0 on Linux 6.18.
package filtertest

// SSTable has a line for each set of sockets: expressions that select the same, and the
// sockets by their names. "all but" takes the rest, "0" is none. X stands for Xc and Xs,
// which are the client's and the accepted socket of a connection, L* for all listeners,
// TW* for what is in TIME_WAIT, U* for the UDP sockets without a peer.
const SSTable = `
state established ≡ state ESTABLISHED ⇒ all but L* SS SR SX F1 F2 CW F2b LA CL F2c TW* U*
state syn-sent ⇒ SS SX
state syn-recv ≡ state syn-rcv ⇒ SR
state fin-wait-2 ⇒ F2 F2b F2c
state closing ⇒ CL
state time-wait ≡ state TIME-WAIT ⇒ TW*
state closed ≡ state close ≡ state unconnected ⇒ U*
state listening ⇒ L*
state bucket ⇒ SR TW*
state connected ⇒ all but L* U*
state synchronized ⇒ all but L* SS SX U*
state big ≡ exclude bucket ⇒ all but SR TW*
state fin-wait-1 state last-ack ⇒ F1 LA
state connected exclude established state listening ⇒ L* SS SR SX F1 F2 CW F2b LA CL F2c TW*
state all exclude connected ≡ exclude connected ⇒ L* U*
state established exclude established ⇒ all but L* SR TW* U*
state established ( sport = :80 or dport = :80 ) ⇒ E1 Ea
exclude established exclude listening sport = :9000 ⇒ CW LA F2c
sport = :80 ≡ sport :80 ≡ sport 80 ≡ sport == 80 ≡ sport eq :80 ≡ sport = :http ≡ sport http ≡ src :80 ≡ src *:80 ≡ src any:80 ≡ sport = :0x50 ≡ sport = :0120 ⇒ L80 E1s Eas
sport = inet6:8080 ⇒ L8080 Ms MMs l6s TWm
dport = :0 ⇒ L* U*
sport = :0 ≡ sport = :65536 ≡ sport <= * ⇒ 0
sport = * ≡ sport = :-1 ≡ sport <= :65535 ≡ src * ≡ dst any ⇒ all
sport >= :40201 sport <= :40203 ≡ sport ge 40201 and sport le 40203 ≡ sport geq :40201 & sport leq :40203 ⇒ F1 F2 F2b
sport > :40200 sport < 40300 ⇒ F1 F2 F2b CL
dport != :443 src 10.9.0.1 ≡ dport ne 443 and src 10.9.0.1 ≡ not dport :443 src 10.9.0.1 ⇒ Lcg MMc m10s m13s cgs dvs
sport < :70000 ⇒ L80 L443 L6 E1s Eas Ss l4s m10s m13s cgs dvs U53
sport = :domain ⇒ U53
sport = :80 or sport = :8080 and dst 10.9.0.1 ≡ ( sport = :80 or sport = :8080 ) dst 10.9.0.1 ⇒ MMs
sport = :80 or ( sport = :8080 and dst 10.9.0.1 ) ≡ dst 10.9.0.1 and sport = :8080 or sport = :80 ⇒ L80 E1s Eas MMs
sport = :80 dst 10.0.0.1 or sport = :9005 ⇒ L9005 E1s Eas SR
not sport = :80 dst 10.0.0.1 ≡ ! sport = :80 & dst 10.0.0.1 ⇒ Ms SR E2 CW LA F2c TWm
not ( sport = :80 or sport = :9000 ) dst 10.0.0.1 ⇒ Ms SR TWm
! ! sport = :80 ≡ not ( not sport = :80 ) ⇒ L80 E1s Eas
'sport = :80 || sport = :9005' ≡ sport = :80 | sport = :9005 ≡ 'sport = :80' 'or sport = :9005' ⇒ L80 L9005 E1s Eas SR
src 10.0.0.2:80 ≡ src = 10.0.0.2:80 ≡ src eq 10.0.0.2:http ⇒ L80 E1s Eas
dst 10.0.0.1 ⇒ E1s Eas Ms SR E2 CW LA F2c TWm
dst 10.0.0.0/8 ≡ dst 10/8 ≡ dst 10.255.1.2/8 ≡ dst 10/255.0.0.0 ⇒ all but L* S l6 l4 SX TW6 U* Uc6
dst 10.9/16 ⇒ MMs m10 m13 cg dv
dst 10.9.0.1/24:443 ⇒ m10c m13c cgc dvc
dst 10 ≡ dst 10.9 ⇒ 0
src 0.0.0.0 ⇒ L443 Lauto U53
src 0.0.0.0/0 ⇒ all but L8080 L6 Lll S l6 TW6 U5353 Uc6
not dst 0.0.0.0/0 ≡ not dst ::/0 ⇒ 0
dst ::/0 ⇒ L8080 L6 Lll Ms MM S l6 TW6 TWm U5353 Uc6
src [::] ⇒ L8080 U5353
dst [::1]:8080 ≡ dst ::1:8080 ≡ dst ::1/128:8080 ≡ dst [::1/128]:8080 ⇒ l6c
dst 2001:db8::/32 ≡ dst [2001:db8::/32] ⇒ S TW6 Uc6
dst 2001:db8::2:443 ≡ dst [2001:DB8:0::2]:https ⇒ Sc TW6
dst [::ffff:10.0.0.1] ⇒ Ms TWm
dst ::ffff:0:0/96 ⇒ Ms MM TWm
dst inet:10.0.0.1 ⇒ E1s Eas SR E2 CW LA F2c
dst 10.0.0.1 or dst inet6:[::1] ⇒ Ms l6 TWm
dst inet6:[::1] or dst inet:10.0.0.1 ⇒ E1s Eas SR E2 CW LA F2c
not dst 10.0.0.0/8 ⇒ L* S l6 l4 SX TW6 U* Uc6
not dst 0.0.0.0 ⇒ all but L* Ms MM l6 TWm U*
dst web ≡ dst both ⇒ E1c Eac Mc MMc SS F1 F2 F2b CL TW4 Uc
dst web6 ⇒ Sc TW6 Uc6
dst pair ⇒ E1s Eas Ms SR E2 CW LA F2c TWm
dst localhost ⇒ l4
dev lo ≡ dev = 1 ≡ dev lo:9 ⇒ Llo dvc
dev != lo dport = :443 ⇒ Sc l4c m10c m13c cgc SX TW6
dev 0 sport = :443 ⇒ L443 L6 Ss l4s m10s m13s cgs dvs
fwmark = 0x10 ≡ fwmark 16 ≡ fwmark 020 ≡ fwmark = 0x10/0xff ⇒ m10c
fwmark = 0x10/0xf0 ⇒ m10c m13c
fwmark = 0x3/0x3 ⇒ m13c
fwmark != 0x10 sport = :40006 ⇒ 0
cgroup /ntflt ≡ cgroup = ntflt ⇒ Lcg cgc
state time-wait not cgroup /ntflt ⇒ TW*
cgroup != /ntflt dst 10.9.0.1 dport = :443 ⇒ m10c m13c dvc
autobound ⇒ Lauto Eac
not autobound ⇒ all but L50090 Lauto E1s Ea Ms MMs Ss l6s l4s m10s m13s cgs dvs SR E2 CW LA F2c TW*
exclude established exclude listening exclude bucket ⇒ SS SX F1 F2 CW F2b LA CL F2c U*
state established dst 10.9.0.1 or dst ::/0 ⇒ Ms MM S l6 m10 m13 cg dv Uc6
sport = :443 and not src 10.9.0.1 ⇒ L443 L6 Ss l4s
dst web or dport = :443 ⇒ E1c Eac Mc MMc Sc l4c m10c m13c cgc dvc SS SX F1 F2 F2b CL TW4 TW6 Uc
src fe80::/10 ⇒ Lll
`
