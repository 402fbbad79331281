package snapshot

// Workload is what a process runs in: a container, the pod around it, a unit of the
// service manager. What is not known is empty. It is immutable: one that changes, as a
// container that gets another name, is another one.
type Workload struct {
	ContainerID   string
	ContainerName string
	Pod           string // of Kubernetes, as the three below
	Namespace     string
	PodContainer  string // the container's name in the pod
	PodUID        string
	Unit          string // of systemd, such as nginx.service
	Slice         string // likewise, such as system.slice
}
