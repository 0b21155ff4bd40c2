package fanout

import "github.com/shmring/shmring"

// ProducerOf is the producer of a target, which nobody else may use outside of tests.
func ProducerOf(f *FanOut, name string) *shmring.Producer {
	for _, t := range *f.targets.Load() {
		if t.Name == name {
			return t.Producer
		}
	}
	return nil
}
