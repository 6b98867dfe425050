"""From made tables of each cohort's shape to phenotypes that the shipped tasks read."""

from __future__ import annotations

import csv

import pytest

from brainjepa_core.evaluation.tasks.settings import load_task
from brainjepa_core.signals.tables.cohorts.recipes import load_recipe, shipped_cohorts
from brainjepa_core.signals.tables.cohorts.tables import read_cohort, write_participants
from brainjepa_core.signals.tables.phenotypes import read_phenotypes

UKB = (
    "eid,31-0.0,21003-2.0,20127-0.0,20126-0.0\n1000011,0,63,4,0\n1000012,1,55,,5\n1000013,1,,2,1\n"
)
RAP = "eid,p31,p21003_i2\n1000011,Female,63\n1000012,Male,55\n"
NDA = (
    '"subjectkey"\t"src_subject_id"\t"interview_age"\t"sex"\n'
    '"The NDAR id"\t"Subject ID in the lab"\t"Age in months"\t"Sex of subject"\n'
    '"NDAR1"\t"HCA6002236"\t"555"\t"F"\n"NDAR2"\t"HCA6010538"\t"432"\t"M"\n'
)
NFFI = "src_subject_id\tneo2_score_ne\nid\tscore\nHCA6002236\t19\nHCA6010538\t999\n"
FLANKER = "src_subject_id\tnih_flanker_unadjusted\nid\tscore\nHCA6002236\t104.5\nHCA6010538\t98\n"
ADNI = (
    "RID,PTID,VISCODE,AGE,PTGENDER,PTEDUCAT,DX_bl,DX\n"
    "2,011_S_0002,bl,74.3,Male,16,CN,CN\n2,011_S_0002,m06,74.3,Male,16,CN,MCI\n"
    "3,011_S_0003,bl,81.3,Female,18,LMCI,MCI\n4,011_S_0005,bl,73.7,Male,16,AD,Dementia\n"
)
AMYLOID = (
    "LONIUID,RID,PTID,VISCODE,AMYLOID_STATUS\n9,2,011_S_0002,bl,0\n8,3,011_S_0003,sc,1\n"
    "7,3,011_S_0003,m24,0\n"
)
OASIS = "OASISID,AgeatEntry,GENDER,EDUC\nOAS30001,65.1,2,12\nOAS30002,67.2,1,99\n"
UDS = (
    "OASISID,days_to_visit,NORMCOG,MCIAMEM,MCIAPLUS,MCINON1,MCINON2,DEMENTED\n"
    "OAS30001,400,0,1,0,0,0,0\nOAS30001,12,1,0,0,0,0,0\nOAS30002,3,0,0,1,0,0,0\n"
)
CAMCAN = "participant_id\tage\thand\tgender_code\tgender_text\nsub-CC110033\t24\t100\t1\tMALE\n"
STANDARD = "CCID,Age,Hand,Coil,MT_TR,Sex\nCC110033,24,100,2,30,MALE\nCC110037,18,94,2,50,FEMALE\n"
MACC = "id,years,sex,group\nM1,71,F,NCI\nM2,75,male,CIND-mild\nM3,80,F,AD\n"


@pytest.fixture
def read(tmp_path):
    def read_texts(cohort, *texts, **named):
        files = []
        for number, text in enumerate(texts):
            files.append(tmp_path / f"table{number}.txt")
            files[-1].write_text(text)
        return read_cohort(load_recipe(cohort), files, named)

    return read_texts


def test_uk_biobank_by_either_naming(read):
    found = read("ukb", UKB)
    assert found.people == {
        "1000011": {"sex": "F", "age": "63", "neuroticism": "4", "depression": "control"},
        "1000012": {"sex": "M", "age": "55", "depression": "case"},
        "1000013": {"sex": "M", "neuroticism": "2"},  # bipolar: neither case nor control
    }
    assert found.notes == [
        "table0.txt: 1 row whose depression has a code that the recipe does not know; left unknown"
    ]
    assert read("ukb", RAP).people == {
        "1000011": {"sex": "F", "age": "63"},
        "1000012": {"sex": "M", "age": "55"},
    }


def test_hcp_aging_in_three_structures(read):
    assert read("hcp_aging", FLANKER, NDA, NFFI).people == {
        "HCA6002236": {"flanker": "104.5", "age": "46.25", "sex": "F", "neuroticism": "19"},
        "HCA6010538": {"flanker": "98", "age": "36", "sex": "M"},
    }


def test_adni_of_the_baseline_visit(read):
    assert read("adni", ADNI, AMYLOID).people == {
        "011S0002": {"age": "74.3", "sex": "M", "education": "16", "diagnosis": "CN",
                     "amyloid": "negative"},
        "011S0003": {"age": "81.3", "sex": "F", "education": "18", "diagnosis": "LMCI",
                     "amyloid": "positive"},
        "011S0005": {"age": "73.7", "sex": "M", "education": "16", "diagnosis": "AD"},
    }  # fmt: skip


def test_oasis_3_of_the_first_visit(read):
    assert read("oasis3", OASIS, UDS).people == {
        "OAS30001": {"age": "65.1", "sex": "F", "education": "12", "diagnosis": "NC"},
        "OAS30002": {"age": "67.2", "sex": "M", "diagnosis": "MCI"},
    }


def test_camcan_in_either_release(read):
    expected = {"age": "24", "sex": "M", "handedness": "100"}
    assert read("camcan", STANDARD).people["CC110033"] == expected
    assert read("camcan", CAMCAN).people["CC110033"] == expected


def test_macc_whose_columns_are_the_user_s_to_name(read):
    with pytest.raises(ValueError, match="a table of MACC with columns participant_id and age"):
        read("macc", MACC)
    named = {"participant_id": "id", "age": "years", "sex": "sex", "diagnosis": "group"}
    found = read("macc", MACC, **named)
    assert found.people["M2"] == {"age": "75", "sex": "M", "diagnosis": "MCI"}
    assert found.people["M3"] == {"age": "80", "sex": "F"}
    with pytest.raises(
        ValueError, match="age, diagnosis, participant_id, sex to be named for MACC"
    ):
        read("macc", MACC, iq="IQ")


def test_what_is_written_is_what_tasks_read(read, tmp_path):
    path = tmp_path / "participants.tsv"
    write_participants(path, read("adni", ADNI, AMYLOID))
    told = read_phenotypes([path])
    assert told.people["011S0003"] == {
        "age": 81.3, "sex": "F", "education": 18.0, "diagnosis": "LMCI", "amyloid": "positive",
    }  # fmt: skip
    assert "PTGENDER" in told.descriptions["sex"]
    rows = list(csv.DictReader(path.open(), delimiter="\t"))
    assert rows[2]["amyloid"] == "n/a"


@pytest.mark.parametrize("cohort", shipped_cohorts())
def test_words_of_recipes_are_those_of_the_tasks(cohort):
    """A recipe's classes are known to the shipped task of its column."""
    recipe = load_recipe(cohort)
    columns = {n: c for table in recipe.tables for n, c in table.columns.items()}
    tasks = {"sex": "sex", "depression": "depression", "amyloid": "amyloid", "diagnosis": "nc_mci"}
    others = {"SMC", "AD", "MCI", "dementia"}  # of ADNI and OASIS-3, who take no part or are both
    for name, column in columns.items():
        words = {*(column.codes or {}).values(), *column.flags.values()}
        if words:
            known = {v for values in load_task(tasks[name]).classes.values() for v in values}
            assert words - others <= known
        assert column.documented and (column.source or column.flags or cohort == "macc")


def test_errors_name_nobody(read):
    with pytest.raises(ValueError) as error:
        read("adni", ADNI.replace("m06", "bl"))
    assert str(error.value).startswith("expected one row a person in table0.txt (ADNIMERGE.csv), "
                                       "found 1 more; take the rows of one visit")  # fmt: skip
    with pytest.raises(ValueError) as error:
        read("hcp_aging", NDA, NDA.replace("555", "556"))
    assert "expected one value of 'age' a person, found another in table1.txt" in str(error.value)
    assert "HCA6002236" not in str(error.value)
    with pytest.raises(ValueError, match="did you mean oasis3"):
        load_recipe("oasis")
    with pytest.raises(ValueError, match="expected 4 cells in every row, found 3 in line 3 of"):
        read("oasis3", OASIS.replace("1,99", "1"))
    with pytest.raises(ValueError, match="found nobody; give another file"):
        read("adni", ADNI.replace(",bl,", ",m12,"))


def test_visits_are_chosen_by_a_number_that_is_there(read):
    """Without one the first row of the file would pass for the first visit."""
    for text in (
        UDS.replace("days_to_visit", "visit"),
        UDS.replace("400", "").replace(",12,", ",,"),
    ):
        with pytest.raises(ValueError, match="1 more and no number in days_to_visit to choose by"):
            read("oasis3", OASIS, text)


def test_strange_codes_of_rows_that_are_not_taken_are_not_told(read):
    strange = AMYLOID.replace("m24,0", "m24,7")
    assert not any("code" in note for note in read("adni", ADNI, strange).notes)
    (note,) = (n for n in read("adni", ADNI, AMYLOID.replace("sc,1", "sc,7")).notes if "code" in n)
    assert note.startswith("table1.txt: 1 row whose amyloid has a code that the recipe")


def test_cells_are_what_they_are_in_every_table(read):
    """Lines end where CSV says, names count whatever their case, empty cells may trail."""
    found = read("oasis3", OASIS.replace("OAS30002", "OAS\u202830002").replace(",99", ",99,,"))
    assert set(found.people) == {"OAS30001", "OAS30002"}
    with pytest.raises(ValueError, match="each column once, found 'educ' as columns 4 and 5"):
        read("oasis3", OASIS.replace("EDUC", "EDUC,educ"))
    with pytest.raises(ValueError, match="a table of tabs or commas in UTF-8, found"):
        read("oasis3", OASIS.replace("OAS30002", '"' + "x" * 200_000))
