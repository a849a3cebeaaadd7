import pytest
from document_fuzzing import fuzz_documents
from test_run import write_pdf


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the converters
def test_mutated_documents_are_indexed_or_refused_by_name(tmp_path):
    write_pdf(tmp_path / "seed.pdf", "The river runs to the sea.")
    report = fuzz_documents(tmp_path / "work", inputs=60, seed=3, pdf=(tmp_path / "seed.pdf").read_bytes())
    assert report.faults == []
    assert report.inputs >= 60
