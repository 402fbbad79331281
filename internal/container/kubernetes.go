package container

import "strings"

// member is a container of a pod, or with an empty container the pod.
type podMember struct{ namespace, pod, container string }

// kubernetes knows the names that the kubelet gives the logs of pods and containers
// (pkg/kubelet/kuberuntime, kubernetes):
//
//	/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log   logSymlink, legacy.go
//	/var/log/pods/NAMESPACE_POD_UID/                     BuildPodLogsDirectory, helpers.go
//
// No name of Kubernetes has a _ in it.
type kubernetes struct {
	containers, pods string // the directories
	byID, byUID      kept[map[string]podMember]
}

func newKubernetes(root string) kubernetes {
	return kubernetes{
		root + "/var/log/containers", root + "/var/log/pods",
		kept[map[string]podMember]{},
		kept[map[string]podMember]{},
	}
}

// container returns the names of a container by its id.
func (k *kubernetes) container(id string) podMember {
	return find(k.byID, k.containers, id, containerLog)
}

// pod returns the names of a pod by its uid.
func (k *kubernetes) pod(uid string) podMember { return find(k.byUID, k.pods, uid, podLogs) }

// find looks up a key among the names in a directory, each of which parse reads.
func find(known kept[map[string]podMember], dir, key string, parse func(name string) (string, podMember)) podMember {
	all, _ := known.get(dir, func() (map[string]podMember, error) {
		names, err := readNames(dir)
		made := make(map[string]podMember, len(names))
		for _, name := range names {
			if key, m := parse(name); key != "" {
				made[key] = m
			}
		}
		return made, err
	})
	return all[key]
}

// containerLog reads POD_NAMESPACE_CONTAINER-ID.log. A name that the kubelet has cut to
// 255 bytes has no id.
func containerLog(name string) (id string, m podMember) {
	name, ok := strings.CutSuffix(name, ".log")
	at := strings.LastIndexByte(name, '-')
	if !ok || at < 0 || !isID(name[at+1:]) {
		return "", podMember{}
	}
	parts := strings.Split(name[:at], "_")
	if len(parts) != 3 {
		return "", podMember{}
	}
	return name[at+1:], podMember{namespace: parts[1], pod: parts[0], container: parts[2]}
}

// podLogs reads NAMESPACE_POD_UID.
func podLogs(name string) (uid string, m podMember) {
	parts := strings.Split(name, "_")
	if len(parts) != 3 {
		return "", podMember{}
	}
	return parts[2], podMember{namespace: parts[0], pod: parts[1]}
}

// runtimeName reads k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT, which CRI-O (server/naming.go)
// and cri-dockerd (core/naming.go) call a container. That which holds the pod's
// namespaces is called POD and has no name in the pod.
func runtimeName(name string) (m podMember, ok bool) {
	parts := strings.Split(name, "_")
	if len(parts) != 6 || parts[0] != "k8s" {
		return podMember{}, false
	}
	m = podMember{namespace: parts[3], pod: parts[2], container: parts[1]}
	if m.container == "POD" {
		m.container = ""
	}
	return m, true
}
