#!/bin/busybox sh
# Process 1 of a test machine: mounts what the tests look at, runs each line of
# /suites, says how it ended, and switches the machine off.
#
# The kernel's messages are on the first serial line, the tests' on the second:
# neither cuts the other's lines in two. The third shows that processes still run.

/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /applets
/bin/busybox --install -s /applets
# The host's own programs come first: busybox has an ip and a netstat as well.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/applets HOME=/root TMPDIR=/tmp NETTRACE_VM=1

mount -t devtmpfs devtmpfs /dev
mkdir /dev/pts && mount -t devpts devpts /dev/pts
stty -F /dev/ttyS1 raw
exec >/dev/ttyS1 2>&1

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
chmod 1777 /tmp
ip link set lo up
while sleep 5; do echo alive; done >/dev/ttyS2 &

# Two listeners that hear nothing, on each tracepoint that the tests use. With
# fewer, each attaching and detaching patches the kernel's code where the
# tracepoint is called (tracepoint_add_func, kernel/tracepoint.c), which the
# emulator may take badly: see errEmulator. A kernel in lockdown refuses them.
grep -q lockdown= /proc/cmdline ||
for listeners in /sys/kernel/tracing /sys/kernel/tracing/instances/second; do
	mkdir -p $listeners
	echo 0 >$listeners/tracing_on
	for tracepoint in sock/inet_sock_set_state timer/timer_start timer/timer_cancel; do
		echo 1 >$listeners/events/$tracepoint/enable
	done
done

while read -r module; do
	insmod "/modules/$module.ko"
done </modules/order

while read -r package timeout run; do
	echo "vmtest: begin $package"
	cd "/src/$package" || continue
	./suite.test -test.v -test.timeout "$timeout" -test.run "$run" </dev/null
	status=$?
	echo
	echo "vmtest: exit $status"
done </suites

# Setting the line waits until all that was written to it is out.
stty -F /dev/ttyS1 raw
poweroff -f
