from mmnv3.arch import load_spec
from mmnv3.search.nas.outputs import write_results
from mmnv3.search.nas.search import best, pareto
from tests.search.nas.test_search import SPACE, search


def test_results(tmp_path):
    samples = search(tmp_path).run()
    write_results(SPACE, samples, best(samples), 2000, 'mAP', tmp_path)
    assert load_spec(tmp_path / 'best.json') == SPACE.decode(best(samples).tokens)
    found = {int(path.stem) for path in (tmp_path / 'pareto').iterdir()}
    assert found == {sample.index + 1 for sample in pareto(samples)}
    assert (tmp_path / 'search.png').stat().st_size > 10_000
