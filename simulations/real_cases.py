"""Which studies run on the real cohorts, over which hospitals, and the reference figures beside them.

Reference figures come with the cohorts (`README.md` of the data folder): linear models on pooled patients, with each
site left out, and at each site alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFolds:
    """A column of the table that says who trains and who is tested.

    Attributes:
        column: Its name.
        train: Values that mean training; other values take no part.
        test: Value that means held out.
    """

    column: str
    train: tuple[str, ...]
    test: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What others measured, as text for the page; `value` is compared with the pooled model's interval.

    Attributes:
        metric: Name in `results.json`.
        value: Of the pooled model; NaN where there is none.
        others: Left-one-out and single-site figures, and what was published.
        mean_over_sites: The value is the mean of the sites' values, not that of all patients together.
    """

    metric: str
    value: float = float("nan")
    others: str = ""
    mean_over_sites: str = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run.

    Attributes:
        name: Folder of the run, and its row on the page.
        study: Name of the protocol in `simulations/studies`, without `.toml`.
        table: Inside the data folder.
        site_column: Names the hospital, or a public group of hospitals.
        folds: 5 for cross-validation, 0 for one split.
        leave_one_out: `yes` to train also without each site.
        published: The published split instead.
        only: Keep the features of this modality; empty for all.
        indicators: Further 0/1 columns as features, to show what they would add.
        reference: Figures to compare with.
        remark: One sentence for the page.
    """

    name: str
    study: str
    table: str
    site_column: str
    folds: int = 5
    leave_one_out: str = "no"
    published: PublishedFolds | None = None
    only: str = ""
    indicators: tuple[str, ...] = ()
    reference: Reference
    remark: str = ""


METABRIC: Final = "metabric_clin_mut/patients.csv"
OMICS: Final = "tcga_brca_multiomics/patients.csv.gz"
PANCAN: Final = "tcga_pancan_clin_cna/patients.csv.gz"
HEART: Final = "fed_heart_disease/patients.csv"
FED_TCGA: Final = "fed_tcga_brca/patients.csv"

TREATMENT: Final = ("treatment_or_therapy_not reported", "treatment_or_therapy_yes")
_TCGA_SPLIT: Final = PublishedFolds(column="fold", train=("train",), test="test")
_TCGA_PUBLISHED: Final = "published pooled .704, FedAdam .842"
_SINGLE: Final[Mapping[str, float]] = {"mrna": 0.957, "methylation": 0.904, "mirna": 0.921}

CASES: Final = (
    Case(
        name="pan-cancer survival by hospital",
        study="pancan-survival",
        table=PANCAN,
        site_column="tss",
        reference=Reference(metric="c_index"),
        remark="Hospitals with at least 20 patients; the others are left out and counted.",
    ),
    Case(
        name="TCGA-BRCA PAM50, three omics",
        study="tcga-brca-pam50",
        table=OMICS,
        site_column="tss",
        leave_one_out="yes",
        reference=Reference(metric="auc", value=0.956, others="left out .953, alone .910"),
        remark="Ten of the 13 hospitals have the ten patients that the protocol asks for.",
    ),
    Case(
        name="METABRIC survival",
        study="metabric-survival",
        table=METABRIC,
        site_column="COHORT",
        leave_one_out="yes",
        reference=Reference(metric="c_index", value=0.692, others="left out .685, alone .635"),
    ),
    Case(
        name="METABRIC PAM50",
        study="metabric-pam50",
        table=METABRIC,
        site_column="COHORT",
        reference=Reference(metric="auc"),
        remark="From mutations and pathology alone; PAM50 itself is made from mRNA.",
    ),
    *(
        Case(
            name=f"TCGA-BRCA PAM50, {modality} only",
            study="tcga-brca-pam50",
            table=OMICS,
            site_column="tss",
            only=modality,
            reference=Reference(metric="auc", value=value),
        )
        for modality, value in _SINGLE.items()
    ),
    Case(
        name="TCGA-BRCA ER status",
        study="tcga-brca-er-status",
        table=OMICS,
        site_column="tss",
        leave_one_out="yes",
        reference=Reference(metric="auc", value=0.945, others="left out .931, alone .946"),
    ),
    Case(
        name="pan-cancer survival by cancer type",
        study="pancan-survival",
        table=PANCAN,
        site_column="project",
        reference=Reference(metric="c_index"),
        remark="The table has no region; the cancer type is its other public grouping, and covers every hospital.",
    ),
    Case(
        name="pan-cancer survival, published split",
        study="pancan-survival",
        table=PANCAN,
        site_column="project",
        folds=0,
        published=PublishedFolds(column="multisurv_group", train=("train", "val"), test="test"),
        reference=Reference(
            metric="c_index", value=0.801, others="published clinical .796; clinical + mRNA network .818"
        ),
        remark="Grouped by cancer type, so that every hospital takes part as in the publication.",
    ),
    Case(
        name="pan-cancer MSI by hospital",
        study="pancan-msi",
        table=PANCAN,
        site_column="tss",
        leave_one_out="yes",
        reference=Reference(metric="auc"),
    ),
    Case(
        name="pan-cancer MSI by cancer type",
        study="pancan-msi",
        table=PANCAN,
        site_column="project",
        reference=Reference(metric="auc"),
    ),
    Case(
        name="heart disease",
        study="heart-disease",
        table=HEART,
        site_column="site",
        leave_one_out="yes",
        reference=Reference(metric="auc"),
        remark="All 920 patients.",
    ),
    Case(
        name="heart disease, published split",
        study="heart-disease",
        table=HEART,
        site_column="site",
        folds=0,
        published=PublishedFolds(column="flamby_fold", train=("train",), test="test"),
        reference=Reference(
            metric="accuracy",
            value=0.803,
            others="published pooled .735, FedAvg .685",
            mean_over_sites="yes",
        ),
        remark="Mean accuracy over the four hospitals.",
    ),
    Case(
        name="Fed-TCGA-BRCA by region",
        study="fed-tcga-brca",
        table=FED_TCGA,
        site_column="region",
        reference=Reference(metric="c_index"),
    ),
    Case(
        name="Fed-TCGA-BRCA, published split",
        study="fed-tcga-brca",
        table=FED_TCGA,
        site_column="region",
        folds=0,
        published=_TCGA_SPLIT,
        reference=Reference(metric="c_index", value=0.842, others=_TCGA_PUBLISHED),
        remark="Without the treatment flags, which are known only after the index date.",
    ),
    Case(
        name="Fed-TCGA-BRCA, published split, treatment flags added",
        study="fed-tcga-brca",
        table=FED_TCGA,
        site_column="region",
        folds=0,
        published=_TCGA_SPLIT,
        indicators=TREATMENT,
        reference=Reference(metric="c_index", value=0.842, others=_TCGA_PUBLISHED),
        remark="Only to explain the reference, which uses all 39 published columns.",
    ),
    Case(
        name="METABRIC survival, private",
        study="metabric-survival-private",
        table=METABRIC,
        site_column="COHORT",
        folds=0,
        reference=Reference(metric="c_index"),
    ),
    Case(
        name="pan-cancer MSI by hospital, private",
        study="pancan-msi-private",
        table=PANCAN,
        site_column="tss",
        folds=0,
        reference=Reference(metric="auc"),
    ),
)
"""The longest first, so that two processes end at about the same time."""
