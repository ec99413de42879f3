package ops

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestProblemsKeepsTheLastWarningsAndErrors(t *testing.T) {
	var p Problems
	log := zerolog.New(zerolog.MultiLevelWriter(&p))
	log.Info().Msg("nothing to worry about")
	for i := range maxProblems + 5 {
		log.Warn().Int("number", i).Msg("worry")
	}
	log.Error().Str("text", strings.Repeat("x", maxProblem)).Msg("too long")
	list := p.Newest()
	if len(list) != maxProblems || !strings.Contains(string(list[0]), fmt.Sprintf(`"number":%d`, maxProblems+4)) {
		t.Errorf("%d lines are kept, the newest of them %s", len(list), list[0])
	}
}
