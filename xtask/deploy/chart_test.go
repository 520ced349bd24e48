// What the chart renders, read as strictly as the API server of Kubernetes would, and held against the node itself: its
// configuration, its command line, its probes and its metrics.
package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
	apps "k8s.io/api/apps/v1"
	scaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	network "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
)

const root = "../.."

// Unknown and repeated fields are errors, as with `kubectl apply --validate=strict`.
var strict = func() runtime.Decoder {
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoring.AddToScheme} {
		if err := add(types); err != nil {
			panic(err)
		}
	}
	return serializer.NewCodecFactory(types, serializer.EnableStrict).UniversalDeserializer()
}()

// Renders the chart as `helm install` does, its schema included.
func render(values map[string]any) (map[string]string, error) {
	chart, err := loader.Load(filepath.Join(root, "helm/fanfold"))
	if err != nil {
		return nil, err
	}
	release := chartutil.ReleaseOptions{Name: "chat", Namespace: "prod", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(chart, all)
}

// One rendering, read.
type rendered struct {
	all         []runtime.Object
	deployments map[string]*apps.Deployment
	configs     map[string]string
	services    []*core.Service
}

func load(t *testing.T, file string) rendered {
	t.Helper()
	values := chartutil.Values{}
	if file != "" {
		var err error
		if values, err = chartutil.ReadValuesFile(file); err != nil {
			t.Fatal(err)
		}
	}
	files, err := render(values)
	if err != nil {
		t.Fatal(err)
	}
	found := rendered{deployments: map[string]*apps.Deployment{}, configs: map[string]string{}}
	for path, text := range files {
		if strings.HasSuffix(path, ".txt") {
			continue
		}
		for _, document := range releaseutil.SplitManifests(text) {
			object, kind, err := strict.Decode([]byte(document), nil, nil)
			if err != nil {
				t.Fatalf("%s: %v\n%s", path, err, document)
			}
			found.all = append(found.all, object)
			switch object := object.(type) {
			case *apps.Deployment:
				found.deployments[object.Name] = object
			case *core.ConfigMap:
				found.configs[object.Name] = object.Data["fanfold.toml"]
			case *core.Service:
				found.services = append(found.services, object)
			case *batch.Job, *policy.PodDisruptionBudget, *scaling.HorizontalPodAutoscaler, *network.NetworkPolicy, *monitoring.ServiceMonitor:
			default:
				t.Errorf("%s: nobody checks a %s", path, kind.Kind)
			}
		}
	}
	return found
}

// The Pods that something is for, by name.
func (found rendered) pods() map[string]core.PodTemplateSpec {
	pods := map[string]core.PodTemplateSpec{}
	for _, object := range found.all {
		switch object := object.(type) {
		case *apps.Deployment:
			pods[object.Name] = object.Spec.Template
		case *batch.Job:
			pods[object.Name] = object.Spec.Template
		}
	}
	return pods
}

// Each set of values: the defaults, and those of testdata.
func sets(t *testing.T, check func(t *testing.T, found rendered)) {
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("testdata/values: %v %v", files, err)
	}
	for _, file := range append(files, "") {
		t.Run(strings.TrimSuffix("default"+filepath.Base(file), "."), func(t *testing.T) { check(t, load(t, file)) })
	}
}

func TestWhatIsRenderedIsWhatKubernetesKnows(t *testing.T) {
	kinds := map[string]int{}
	sets(t, func(t *testing.T, found rendered) {
		for _, object := range found.all {
			kinds[fmt.Sprintf("%T", object)]++
			accessor, ok := object.(meta.Object)
			if !ok || accessor.GetName() == "" || accessor.GetLabels()["app.kubernetes.io/instance"] != "chat" {
				t.Errorf("%T without a name or labels", object)
			}
		}
	})
	if len(kinds) < 8 {
		t.Errorf("too little was rendered: %v", kinds)
	}
}

func TestSelectorsFindTheirPodsAndNoOthers(t *testing.T) {
	sets(t, func(t *testing.T, found rendered) {
		pods := found.pods()
		finds := func(what string, selector labels.Selector, wanted string) {
			t.Helper()
			for name, pod := range pods {
				if selector.Matches(labels.Set(pod.Labels)) != (name == wanted) {
					t.Errorf("%s and the Pods of %s", what, name)
				}
			}
		}
		of := func(selector *meta.LabelSelector) labels.Selector {
			read, err := meta.LabelSelectorAsSelector(selector)
			if err != nil {
				t.Fatal(err)
			}
			return read
		}
		for _, object := range found.all {
			switch object := object.(type) {
			case *apps.Deployment:
				finds("deployment", of(object.Spec.Selector), object.Name)
				for _, spread := range object.Spec.Template.Spec.TopologySpreadConstraints {
					finds("spread", of(spread.LabelSelector), object.Name)
				}
			case *core.Service:
				finds("service", labels.SelectorFromSet(object.Spec.Selector), object.Name)
			case *policy.PodDisruptionBudget:
				finds("budget", of(object.Spec.Selector), object.Name)
			case *network.NetworkPolicy:
				finds("policy "+object.Name, of(&object.Spec.PodSelector), object.Name)
			case *scaling.HorizontalPodAutoscaler:
				if deployment := found.deployments[object.Spec.ScaleTargetRef.Name]; deployment == nil || deployment.Spec.Replicas != nil {
					t.Error("the autoscaler has no Deployment, or one that says how many")
				}
			case *monitoring.ServiceMonitor:
				for _, service := range found.services {
					if !of(&object.Spec.Selector).Matches(labels.Set(service.Labels)) {
						t.Error("the monitor doesn't find the service")
					}
					for _, endpoint := range object.Spec.Endpoints {
						port(t, service, endpoint.Port)
					}
				}
			}
		}
	})
}

func port(t *testing.T, service *core.Service, name string) core.ServicePort {
	t.Helper()
	for _, port := range service.Spec.Ports {
		if port.Name == name {
			return port
		}
	}
	t.Fatalf("the service has no port %s", name)
	return core.ServicePort{}
}

func TestPortsOfProbesServicesAndPoliciesAreThoseTheNodeListensOn(t *testing.T) {
	listens := regexp.MustCompile(`(?m)^\s*(http|grpc) = ".*:(\d+)"$`)
	sets(t, func(t *testing.T, found rendered) {
		node := found.deployments["chat-fanfold"]
		container := node.Spec.Template.Spec.Containers[0]
		has := func(name intstr.IntOrString) bool {
			for _, port := range container.Ports {
				if port.Name == name.StrVal {
					return true
				}
			}
			return false
		}
		told := listens.FindAllStringSubmatch(found.configs[node.Name], -1)
		if len(told) != 2 || len(container.Ports) != 2 {
			t.Fatalf("listens on %v, has the ports %v", told, container.Ports)
		}
		for _, port := range container.Ports {
			for _, told := range told {
				if told[1] == port.Name && told[2] != fmt.Sprint(port.ContainerPort) {
					t.Errorf("%s: listens on %s, the container has %d", port.Name, told[2], port.ContainerPort)
				}
			}
		}
		for _, probe := range []*core.Probe{container.StartupProbe, container.LivenessProbe, container.ReadinessProbe} {
			if !has(probe.HTTPGet.Port) {
				t.Errorf("no port %s to probe", probe.HTTPGet.Port.StrVal)
			}
		}
		for _, service := range found.services {
			for _, port := range service.Spec.Ports {
				if !has(port.TargetPort) {
					t.Errorf("the service names the port %s", port.TargetPort.StrVal)
				}
			}
		}
		for _, object := range found.all {
			if rules, ok := object.(*network.NetworkPolicy); ok {
				for _, rule := range rules.Spec.Ingress {
					for _, port := range rule.Ports {
						if !has(*port.Port) {
							t.Errorf("%s names the port %s", rules.Name, port.Port.StrVal)
						}
					}
				}
			}
		}
		if worker := found.deployments["chat-fanfold-worker"]; worker != nil {
			address := fmt.Sprintf("--node=http://%s:%d", found.services[0].Name, port(t, found.services[0], "grpc").Port)
			if args := fmt.Sprint(worker.Spec.Template.Spec.Containers[0].Args); !strings.Contains(args, address) {
				t.Errorf("the worker doesn't ask %s: %s", address, args)
			}
		}
	})
}

// Balancers must know before SIGTERM, and the node must have drained before SIGKILL.
func TestThereIsTimeToDrain(t *testing.T) {
	drain := regexp.MustCompile(`drain_ms_max = (\d+)`)
	sets(t, func(t *testing.T, found rendered) {
		spec := found.deployments["chat-fanfold"].Spec
		pod := spec.Template.Spec
		var drainMs int64
		if _, err := fmt.Sscan(drain.FindStringSubmatch(found.configs["chat-fanfold"])[1], &drainMs); err != nil {
			t.Fatal(err)
		}
		pause := pod.Containers[0].Lifecycle.PreStop.Sleep.Seconds
		// What it asks the store for last may take store.scylla.call_ms_max, 10 s.
		if least := pause + (drainMs+999)/1000 + 10; *pod.TerminationGracePeriodSeconds < least {
			t.Errorf("has %d s to end, needs %d", *pod.TerminationGracePeriodSeconds, least)
		}
		ready := pod.Containers[0].ReadinessProbe
		if pause < 2 || int64(ready.PeriodSeconds*ready.FailureThreshold) > drainMs/1000 {
			t.Error("who asks for readiness doesn't learn in time")
		}
		if spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() != 0 {
			t.Error("a roll-out takes nodes away before others are there")
		}
	})
}

func TestNobodyRunsAsRootOrWrites(t *testing.T) {
	sets(t, func(t *testing.T, found rendered) {
		for name, pod := range found.pods() {
			if !*pod.Spec.SecurityContext.RunAsNonRoot || *pod.Spec.AutomountServiceAccountToken {
				t.Errorf("%s is root, or knows Kubernetes", name)
			}
			for _, container := range pod.Spec.Containers {
				security := container.SecurityContext
				if !*security.ReadOnlyRootFilesystem || *security.AllowPrivilegeEscalation || security.Capabilities.Drop[0] != "ALL" {
					t.Errorf("%s may too much", name)
				}
				for _, variable := range container.Env {
					if variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil {
						t.Errorf("%s has a secret in its environment", name)
					}
				}
				for _, mount := range container.VolumeMounts {
					if !mount.ReadOnly {
						t.Errorf("%s can write %s", name, mount.MountPath)
					}
				}
			}
		}
	})
}

func TestTheMetricOfTheAutoscalerIsOneOfTheNode(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	sets(t, func(t *testing.T, found rendered) {
		for _, object := range found.all {
			if scaler, ok := object.(*scaling.HorizontalPodAutoscaler); ok {
				seen++
				name := scaler.Spec.Metrics[0].Pods.Metric.Name
				if !strings.Contains(string(page), "| `"+name+"` | gauge |") {
					t.Errorf("docs/metrics.md knows no gauge %s", name)
				}
			}
		}
	})
	if seen == 0 {
		t.Error("no autoscaler was rendered")
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	wrong := map[string]string{
		"an unknown value":               `replicas: 3`,
		"an unknown value further in":    `nodes: { replica: 3 }`,
		"a number as text":               `nodes: { replicas: "3" }`,
		"no node":                        `nodes: { replicas: 0 }`,
		"no pause before the end":        `nodes: { preStopSeconds: 0 }`,
		"an embedded log":                `config: { log: { backend: embedded } }`,
		"an embedded store":              `config: { store: { backend: embedded } }`,
		"nobody is asked who they are":   `config: { auth: { keys: [] } }`,
		"an algorithm that isn't":        `config: { auth: { keys: [{ algorithm: none, path: /x }] } }`,
		"only loopback":                  `config: { listen: { http: "127.0.0.1:8080" } }`,
		"a data folder":                  `config: { node: { data: /data } }`,
		"a secret without files":         `secrets: { auth: { secret: a, items: [] } }`,
		"a secret as a value":            `secrets: { auth: { value: abc } }`,
		"a path out of its folder":       `secrets: { auth: { secret: a, items: [{ key: a, path: ../b }] } }`,
		"a budget that stops evictions":  `podDisruptionBudget: { maxUnavailable: 0 }`,
		"a port that isn't":              `service: { httpPort: 70000 }`,
		"a spread that isn't":            `topologySpread: { zones: Sometimes }`,
		"a worker with the nodes' rules": `workers: { config: { auth: {} } }`,
		"a rule without a port":          `networkPolicy: { nats: { ports: [], to: [] } }`,
		"an interval without a unit":     `serviceMonitor: { interval: "15" }`,
		"a quantity that isn't":          `nodes: { resources: { limits: { memory: 2GB } } }`,
	}
	for what, text := range wrong {
		values, err := chartutil.ReadValues([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if _, err := render(values); err == nil || !strings.Contains(err.Error(), "values don't meet") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
